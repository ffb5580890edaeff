"""Draws an explanation as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Split
from jetseg.explanation.config import ExplainConfig
from jetseg.explanation.exemplars import Exemplar, group_frames, hurt_frames
from jetseg.explanation.explained import Explained, Explanation
from jetseg.explanation.findings import suffering
from jetseg.explanation.observe import scene_of
from jetseg.explanation.pointed import Pointed, find_pointed
from jetseg.explanation.record import SizeRow, size_rows
from jetseg.explanation.sentences import place_name
from jetseg.explanation.significance import CALIBRATION, MIOU, Loss
from jetseg.preprocess import FrameU8, resize_frame
from jetseg.report.build import new_mistakes
from jetseg.report.figures import loss_bars, reliability_lines, series_color
from jetseg.report.page import fill_page
from jetseg.report.pictures import GAINED, LOST, OTHER, CaptionedImage, as_uri, draw_examples, heat_map
from jetseg.report.rows import Entry
from jetseg.storage import write_text

_LAYERS_SHOWN = 16


ActivationMap = Callable[[Entry, FrameU8, npt.NDArray[np.bool_], int], npt.NDArray[np.float32] | None]
"""Given a network, a frame, pixels of it and a class, tells which places of the frame speak for the class there."""


def write_page(
    out: Path,
    explained: Explained,
    entries: Sequence[Entry],
    split: Split,
    config: ExplainConfig,
    activation_map: ActivationMap,
) -> None:
    """Writes the page.

    Args:
        out: The page to write.
        explained: What was found.
        entries: The networks, still open: examples are run again.
        split: The frames.
        config: Title and number of examples.
        activation_map: Makes class activation maps of the networks that have gradients.

    Raises:
        StorageError: The page could not be written.
    """
    hurt = hurt_frames(explained.seen, split.classes)
    pointed = find_pointed(split, config.at) if config.at else None
    figures: dict[str, str] = {}
    sections = []
    for number, child in enumerate(explained.children):
        figures |= _figures(explained, number)
        sections.append(
            {
                "child": child,
                "number": number,
                "flips": explained.seen.flips[number],
                "temperatures": (explained.seen.temperatures[0], explained.seen.temperatures[number + 1]),
                "headline": _headline(child),
                "main_sizes": [row for row in size_rows(child) if _stands_out(row)],
                "other_sizes": [row for row in size_rows(child) if not _stands_out(row)],
                "mistakes": new_mistakes(explained.seen.confusion[0], explained.seen.confusion[number + 1]),
                "layers": child.effects.causes[:_LAYERS_SHOWN] if child.effects else (),
                "activations": _activations(
                    [entries[0], entries[number + 1]], pointed or _most_hurt(child, hurt, split), split, activation_map
                ),
                "examples": draw_examples(
                    [entries[0], entries[number + 1]], split, _examples(explained, number, hurt, split, config.examples)
                ),
            }
        )
    content = {
        "title": config.title,
        "explained": explained,
        "sections": sections,
        "groups": group_frames(explained.seen, hurt),
        "hurt": len(hurt),
        "pointed": pointed is not None,
        "colors": [series_color(index) for index in range(2)],
        "palette": dict(zip(split.classes, entries[0].engine.manifest.colors, strict=True)),
        "disagreement_colors": {
            "the child is wrong here, the parent was right": LOST,
            "the child is right here, the parent was wrong": GAINED,
            "both are wrong, or the pixel has no label": OTHER,
        },
    }
    write_text(out, fill_page(content, figures, "explanation/page.html"))


def _activations(
    entries: Sequence[Entry], asked: Pointed | None, split: Split, activation_map: ActivationMap
) -> list[CaptionedImage]:
    """Draws what speaks for a class at some pixels, in the parent and in the child."""
    if asked is None:
        return []
    image = resize_frame(asked.sample.image_hwc_u8, *asked.mask_hw.shape)
    note = f"{split.classes[asked.number]} in {asked.sample.name}"
    heats = (
        (entry, activation_map(entry, asked.sample.image_hwc_u8, asked.mask_hw, asked.number)) for entry in entries
    )
    return [
        CaptionedImage(as_uri(heat_map(image, heat)), entry.name, note) for entry, heat in heats if heat is not None
    ]


def _most_hurt(child: Explanation, hurt: Sequence[Exemplar], split: Split) -> Pointed | None:
    """Returns the class that lost most, in the frame that lost most of it."""
    subject = suffering(child.findings)
    frame = next((frame for frame in hurt if frame.subject == subject), None)
    if not subject or frame is None:
        return None
    sample, number = split[frame.index], split.classes.index(subject)
    return Pointed(sample, scene_of(sample, split).mask(number), number)


def _examples(
    explained: Explained, number: int, hurt: Sequence[Exemplar], split: Split, count: int
) -> list[tuple[int, str]]:
    """Chooses frames to show: every second one lost most of the class that the summary names, the others most of all.

    Returns:
        Position in the split, and why it is shown.
    """
    subject = suffering(explained.children[number].findings)
    named: list[tuple[int, str]] = []
    if subject:
        place = split.classes.index(subject)
        lost = sorted(explained.seen.frames, key=lambda frame: -int(frame.lost[number][place]))
        named = [
            (frame.index, f"{int(frame.lost[number][place])} pixels of {subject} lost")
            for frame in lost[: (count + 1) // 2]
            if frame.lost[number][place]
        ]
    shown = {index for index, _ in named}
    others = [(frame.index, f"{frame.lost:.1f} points lost, {frame.subject} most") for frame in hurt]
    return [*named, *(other for other in others if other[0] not in shown)][:count]


def _stands_out(row: SizeRow) -> bool:
    """Tells whether a line about objects of some size is worth the first look."""
    return not row[0] or row[2].claimed


def _headline(child: Explanation) -> dict[str, Loss | None]:
    by_key = {loss.key: loss for loss in child.losses}
    return {"miou": by_key.get(MIOU), "calibration": by_key.get(CALIBRATION)}


def _figures(explained: Explained, number: int) -> dict[str, str]:
    child, seen = explained.children[number], explained.seen
    found = {}
    classes = [loss for loss in child.losses if loss.key.kind == "class"]
    if classes:
        name = f"classes-{number}"
        found[name] = _bars(classes, [loss.key.subject for loss in classes], name)
    places = [loss for kind in ("band", "distance", "region", "condition") for loss in _of_kind(child, kind)]
    if places:
        name = f"places-{number}"
        found[name] = _bars(places, [place_name(loss.key.kind, loss.key.part, seen) for loss in places], name)
    tables = seen.counts[0].reliability, seen.counts[number + 1].reliability
    if tables[0] is not None and tables[1] is not None:
        name = f"reliability-{number}"
        found[name] = reliability_lines([_line(tables[0]), _line(tables[1])], name)
    return found


def _of_kind(child: Explanation, kind: str) -> list[Loss]:
    return sorted((loss for loss in child.losses if loss.key.kind == kind), key=lambda loss: loss.key.part)


def _bars(losses: Sequence[Loss], names: Sequence[str], figure_name: str) -> str:
    numbers = [(loss.points, loss.low, loss.high) for loss in losses]
    return loss_bars(names, numbers, [loss.claimed for loss in losses], figure_name)


def _line(table: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns confidence and share of right pixels of the bins that hold at least a thousandth of the pixels."""
    count, confidence, right = table.sum(axis=0)
    full = count > count.sum() / 1000
    return (confidence[full] / count[full]).tolist(), (right[full] / count[full]).tolist()
