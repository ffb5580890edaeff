"""Measures networks against each other and writes what was found as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetseg.data.contract import Split
from jetseg.errors import ConfigError
from jetseg.evaluation.accuracy import check_frames
from jetseg.evaluation.benchmark import benchmark, inference_on_noise
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.provenance import device_name, toolchain
from jetseg.report.config import ReportConfig
from jetseg.report.figures import iou_bars, layer_bars, series_color, speed_scatter
from jetseg.report.measure import choose_examples, score_together
from jetseg.report.page import fill_page
from jetseg.report.pictures import GAINED, LOST, OTHER, draw_examples
from jetseg.report.rows import Entry, Row, make_rows
from jetseg.storage import write_text

_MISTAKES_SHOWN = 8
_LAYERS_SHOWN = 24


@dataclass(frozen=True)
class Mistake:
    """Pixels of one class that are taken for another; `share` is the growth in percent of the class."""

    truth: str
    prediction: str
    before: int
    after: int
    share: float


@dataclass(frozen=True)
class ReportResult:
    """The page, and what it says."""

    path: Path
    rows: tuple[Row, ...]
    agreement: tuple[float, ...]
    mistakes: tuple[Mistake, ...]
    conditions: dict[str, Any]


@dataclass(frozen=True)
class GateVerdict:
    """What the gate found in the last network.

    Attributes:
        violations: What it lost beyond its budget, in words; empty if it passed.
        layers: Each layer alone in 8 bits: its name, and the pixels that change their class, in percent.
    """

    violations: tuple[str, ...]
    layers: tuple[tuple[str, float], ...]


def write_report(
    out: Path, config: ReportConfig, entries: Sequence[Entry], split: Split, verdict: GateVerdict | None = None
) -> ReportResult:
    """Measures accuracy and speed, draws examples, and writes the page.

    Args:
        out: The page to write.
        config: What to measure; its threads are those that the networks were opened with, quoted and not set.
        entries: The networks, the reference first; they stay open.
        split: A labelled split with the networks' classes.
        verdict: What the gate found in the last network, if it went through it.

    Raises:
        ConfigError: There is no network, or two have the same name.
        DataError: The classes differ, or a frame has no label.
        StorageError: The page could not be written.
    """
    for entry in entries:
        check_frames(entry.engine.manifest.classes, split, frames=config.frames)
    names = [entry.name for entry in entries]
    if not names or len(set(names)) != len(names):
        raise ConfigError(
            f"A report needs networks with different names, and got: {', '.join(names) or 'none'}.",
            "Give each network once, under its own name.",
        )
    together = score_together(entries, split, config.frames)
    calls: dict[str, Callable[[], object]] = {entry.name: inference_on_noise(entry.engine) for entry in entries}
    latencies = benchmark(calls, rounds=config.rounds, seconds=config.seconds)
    scores = {name: matrix.score() for name, matrix in zip(names, together.confusion, strict=True)}
    volumes = dict(zip(names, together.volumes, strict=True))
    rows = make_rows(entries, latencies=latencies, scores=scores, volumes=volumes)
    examples = draw_examples(entries, split, choose_examples(together, config.examples))
    agreement = tuple(sum(row) / len(row) for row in together.agreement) if len(entries) > 1 else ()
    result = ReportResult(
        path=out,
        rows=rows,
        agreement=agreement,
        mistakes=new_mistakes(together.confusion[0], together.confusion[-1]),
        conditions=_conditions(config, split, len(together.frames)),
    )
    content = {
        "title": config.title,
        "result": result,
        "colors": [series_color(index) for index in range(len(rows))],
        "verdict": verdict,
        "layers_shown": _LAYERS_SHOWN,
        "classes": split.classes,
        "palette": dict(zip(split.classes, entries[0].engine.manifest.colors, strict=True)),
        "histories": [entry.manifest.stages for entry in entries],
        "examples": examples,
        "disagreement_colors": {
            "the later one is wrong here, the earlier one was right": LOST,
            "the later one is right here, the earlier one was wrong": GAINED,
            "both are wrong, or the pixel has no label": OTHER,
        },
    }
    figures = _figures(rows, split.classes)
    if verdict and verdict.layers:
        layers, shares = zip(*verdict.layers[:_LAYERS_SHOWN], strict=True)
        figures["layers"] = layer_bars(layers, shares)
    write_text(out, fill_page(content, figures))
    return result


def new_mistakes(before: ConfusionMatrix, after: ConfusionMatrix) -> tuple[Mistake, ...]:
    """Finds the confusions that grew most, in pixels, from one network to another.

    Args:
        before: Confusion of the reference.
        after: Confusion of the other network, on the same frames.

    Returns:
        At most a few, the largest growth first; a void prediction is named "void".
    """
    growth = after.counts - before.counts
    predictions = (*before.classes, "void")
    cells = [
        (int(growth[row, column]), row, column)
        for row in range(growth.shape[0])
        for column in range(growth.shape[1])
        if row != column and growth[row, column] > 0
    ]
    return tuple(
        Mistake(
            truth=before.classes[row],
            prediction=predictions[column],
            before=int(before.counts[row, column]),
            after=int(after.counts[row, column]),
            share=100 * grown / int(after.counts[row].sum()),
        )
        for grown, row, column in sorted(cells, key=lambda cell: (-cell[0], cell[1:]))[:_MISTAKES_SHOWN]
    )


def _conditions(config: ReportConfig, split: Split, frames: int) -> dict[str, Any]:
    return {
        "data": split.spec,
        "split": split.split,
        "frames": frames,
        "frames_in_split": len(split),
        "device": device_name(),
        "threads": config.threads,
        "rounds": config.rounds,
        "seconds_per_turn": config.seconds,
        "toolchain": toolchain(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _figures(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, str]:
    iou = [[(row.per_class_iou or {}).get(name) for name in classes] for row in rows]
    figures = {"iou": iou_bars(classes, iou)}
    points = [(row.latency.p50_ms, row.miou) for row in rows if row.latency is not None and row.miou is not None]
    if len(rows) > 1 and len(points) == len(rows):
        figures["speed"] = speed_scatter(points)
    return figures
