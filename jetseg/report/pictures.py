"""Pictures of what networks said about a frame, ready to be put into a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.camera.overlay import Overlay, outline
from jetseg.data.contract import Sample, Split, VolumetricSplit
from jetseg.errors import DataError
from jetseg.palette import Color
from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8, resize_frame
from jetseg.report.measure import predict_all
from jetseg.report.rows import Entry

LOST: Color = (235, 64, 32)
GAINED: Color = (64, 156, 255)
OTHER: Color = (240, 200, 40)
"""Colors of a disagreement: now wrong, now right, and wrong both times or not labelled. RGB."""

_WIDTH = 560
_OPACITY = 0.6
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class CaptionedImage:
    """One picture: a data URI, what it shows, and a note such as a figure about it."""

    uri: str
    caption: str
    note: str = ""


@dataclass(frozen=True)
class Example:
    """One frame: the input and its label, what every network said, and where neighbors disagree."""

    name: str
    reason: str
    given: tuple[CaptionedImage, ...]
    overlays: tuple[CaptionedImage, ...]
    disagreements: tuple[CaptionedImage, ...]


def draw_examples(entries: Sequence[Entry], split: Split, chosen: Sequence[tuple[int, str]]) -> list[Example]:
    """Runs all networks on the chosen frames again and draws what they said.

    Args:
        entries: The networks, in the order of the report.
        split: The split that the frames are in; slices of volumes get outlines.
        chosen: Position and reason of each frame; see `jetseg.report.measure.choose_examples`.
    """
    manifest = entries[0].engine.manifest
    overlay, sliced = Overlay(manifest, _OPACITY), isinstance(split, VolumetricSplit)

    def drawn(image: FrameU8, ids: ClassMap) -> str:
        return as_uri(outline(image, ids, manifest) if sliced else overlay.draw(image, ids))

    names = [entry.name for entry in entries]
    examples = []
    for index, reason in chosen:
        sample = split[index]
        label = _label(sample)
        maps = predict_all(entries, sample.image_hwc_u8, label.shape)
        image = resize_frame(sample.image_hwc_u8, label.shape[0], label.shape[1])
        ignored = _ignored(label, split)
        examples.append(
            Example(
                name=sample.name,
                reason=reason,
                given=(
                    CaptionedImage(as_uri(image), "Slice" if sliced else "Camera frame"),
                    CaptionedImage(drawn(image, label), "Label"),
                ),
                overlays=tuple(
                    CaptionedImage(
                        drawn(image, ids),
                        name,
                        f"{_percent_equal(ids, label, ~ignored)} of the labelled pixels right",
                    )
                    for name, ids in zip(names, maps, strict=True)
                ),
                disagreements=tuple(
                    CaptionedImage(
                        as_uri(disagreement_map(image, label, ignored, maps[place], maps[place + 1])),
                        f"{names[place]} → {names[place + 1]}",
                        f"{_percent_equal(maps[place], maps[place + 1])} agreement",
                    )
                    for place in range(len(maps) - 1)
                ),
            )
        )
    return examples


def disagreement_map(
    image_hwc_u8: FrameU8,
    label_hw_u8: ClassMap,
    ignored_hw: npt.NDArray[np.bool_],
    before_hw_u8: ClassMap,
    after_hw_u8: ClassMap,
) -> FrameU8:
    """Marks on a dim frame where two networks disagree, colored by who is right.

    Returns:
        BGR frame: `LOST` where only the first is right, `GAINED` where only the second is, `OTHER` elsewhere.
    """
    gray = cv2.cvtColor(image_hwc_u8, cv2.COLOR_BGR2GRAY) // 2 + 20
    out = np.repeat(gray[..., None], 3, axis=2)
    differ = before_hw_u8 != after_hw_u8
    lost = differ & (before_hw_u8 == label_hw_u8) & ~ignored_hw
    gained = differ & (after_hw_u8 == label_hw_u8) & ~ignored_hw
    for mask, color in ((differ, OTHER), (lost, LOST), (gained, GAINED)):
        out[mask] = color[::-1]
    return np.asarray(out, dtype=np.uint8)


def heat_map(image_hwc_u8: FrameU8, heat_hw: npt.NDArray[np.float32]) -> FrameU8:
    """Lays a map of 0..1 over a dim frame: the brighter, the more.

    Args:
        image_hwc_u8: The frame, BGR.
        heat_hw: The map, of any size.
    """
    height, width = image_hwc_u8.shape[:2]
    resized = cv2.resize(heat_hw, (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colors = cv2.applyColorMap((255 * resized).astype(np.uint8), cv2.COLORMAP_INFERNO)
    gray = np.repeat(cv2.cvtColor(image_hwc_u8, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    return np.asarray(cv2.addWeighted(gray, 0.4, colors, 0.6, 0), dtype=np.uint8)


def as_uri(image_hwc_u8: FrameU8) -> str:
    """Writes a frame as a data URI, shrunk to the page's width."""
    height, width = image_hwc_u8.shape[:2]
    if width > _WIDTH:
        image_hwc_u8 = resize_frame(image_hwc_u8, round(height * _WIDTH / width), _WIDTH)
    _, encoded = cv2.imencode(".jpg", image_hwc_u8, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _label(sample: Sample) -> ClassMap:
    if sample.label_hw_u8 is None:
        raise DataError(f"Frame {sample.name} has no label.", "Give a labelled split.")
    return sample.label_hw_u8


def _ignored(label_hw_u8: ClassMap, split: Split) -> npt.NDArray[np.bool_]:
    if split.ignore_index is None:
        return np.zeros(label_hw_u8.shape, dtype=np.bool_)
    return np.asarray(label_hw_u8 == split.ignore_index)


def _percent_equal(first: ClassMap, second: ClassMap, where: npt.NDArray[np.bool_] | None = None) -> str:
    equal = (first == second) if where is None else (first == second)[where]
    return f"{100 * float(equal.mean()):.1f}%" if equal.size else "-"
