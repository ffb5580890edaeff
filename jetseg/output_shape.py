"""Checks that a network's output is what its manifest says: axes, type, classes, and the geometry of its input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jetseg.config import changed
from jetseg.errors import ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.output_spec import OutputSpec

MOST_CHANNELS = 255
"""Class ids are uint8, and one value stays free."""
_OTHER_LAYOUT = {"nchw": "nhwc", "nhwc": "nchw"}
Sizes = tuple[int | None, ...]


def check_output(what: str, shape: Sequence[int | str | None], dtype: npt.DTypeLike | None, manifest: Manifest) -> None:
    """Refuses an output that is not what the manifest says.

    Args:
        what: What the output is called in the message, as in "net.onnx: output logits".
        shape: Its shape; names, None and negative numbers stand for any size.
        dtype: Its type; None if it is not known.
        manifest: The network's manifest.

    Raises:
        ManifestError: It differs; the key of the manifest that would be right is named where the shape tells it.

    >>> manifest = Manifest.model_validate({"classes": ["sky", "road"], "input": {"height": 6, "width": 8}})
    >>> check_output("output", (1, 2, 3, 4), np.float32, manifest)
    >>> check_output("output", (1, 6, 8, 2), np.float32, manifest)
    Traceback (most recent call last):
    jetseg.errors.ManifestError: output is float32 of shape [1, 6, 8, 2], but the manifest says logits of shape \
[1, 2 or more, height, width], in the proportions of the input (6x8): 8x2 pixels are not in these proportions. Its \
last axis seems to be the channels: set `layout: nhwc` for the manifest's output.
    """
    sizes = tuple(size if isinstance(size, int) and size >= 0 else None for size in shape)
    kind = None if dtype is None else np.dtype(dtype)
    fault = _fault(sizes, kind, manifest.output, manifest.input)
    if fault is None:
        return
    reason, fix = fault
    swapped = changed(manifest.output, layout=_OTHER_LAYOUT[manifest.output.layout])
    if len(sizes) == 4 and None not in sizes and _fault(sizes, kind, swapped, manifest.input) is None:
        where = "last" if swapped.layout == "nhwc" else "second"
        fix = f"Its {where} axis seems to be the channels: set `layout: {swapped.layout}` for the manifest's output."
    listed = ["?" if size is None else size for size in sizes]
    found = f"{what} is {kind or 'a tensor'} of shape [{', '.join(map(str, listed))}]"
    raise ManifestError(f"{found}, but the manifest says {_promise(manifest)}: {reason}.", fix)


def _fault(
    sizes: Sizes, dtype: np.dtype[np.generic] | None, spec: OutputSpec, frame: InputSpec
) -> tuple[str, str] | None:
    """Returns what is wrong with an output, and what to do about it."""
    if spec.kind == "classmap":
        return _class_map_fault(sizes, dtype, spec, frame)
    if dtype is not None and dtype.kind != "f":
        return "it is not of a float type", "If it holds class ids, set `kind: classmap` for the manifest's output."
    if spec.task == "depth" and len(sizes) == 3:
        sizes = (sizes[0], 1, *sizes[1:]) if spec.layout == "nchw" else (*sizes, 1)
    if len(sizes) != 4:
        return "it has not four axes", "Correct the manifest's output, or export the network again."
    batch, *_ = sizes
    channels, height, width = sizes[1:] if spec.layout == "nchw" else (sizes[3], sizes[1], sizes[2])
    return _axes_fault(batch, height, width, frame) or _channels_fault(channels, spec)


def _class_map_fault(
    sizes: Sizes, dtype: np.dtype[np.generic] | None, spec: OutputSpec, frame: InputSpec
) -> tuple[str, str] | None:
    if dtype is not None and dtype.kind not in "uib":
        return "ids are integers", "If these are scores, set `kind: logits` for the manifest's output."
    if not 2 <= len(sizes) <= 4:
        return "it has neither two, three nor four axes", "Correct the manifest's output."
    if spec.confidence:
        if len(sizes) != 4 or sizes[1] not in (2, None):
            return "it has not two planes, ids and confidence", "Leave `confidence` out of the manifest's output."
        sizes = (sizes[0], *sizes[2:])
    first = 1 if len(sizes) == 4 and spec.layout == "nhwc" else len(sizes) - 2
    if any(size not in (1, None) for size in sizes[:first] + sizes[first + 2 :]):
        return "one map is expected", "Export the network with a batch of 1 and one id per pixel."
    return _axes_fault(1, sizes[first], sizes[first + 1], frame)


def _axes_fault(batch: int | None, height: int | None, width: int | None, frame: InputSpec) -> tuple[str, str] | None:
    if batch not in (1, None):
        return f"the batch is {batch}", "Export the network with a batch of 1."
    if height is None or width is None:
        return None
    if not height or not width or not in_proportion(height, width, frame):
        return (
            f"{height}x{width} pixels are not in these proportions",
            "Correct the size of the manifest's input, or `output.name`; class maps are resized, not cropped.",
        )
    return None


def in_proportion(height: int, width: int, frame: InputSpec) -> bool:
    """Tells whether a map is the input at some scale; each side may be rounded, as strides do, by one pixel.

    >>> frame = InputSpec(height=6, width=8)
    >>> in_proportion(3, 4, frame), in_proportion(8, 2, frame)
    (True, False)
    """
    return abs(height / frame.height - width / frame.width) <= 1 / frame.height + 1 / frame.width


def _channels_fault(channels: int | None, spec: OutputSpec) -> tuple[str, str] | None:
    if channels is None:
        return None
    if spec.activation != "softmax" and channels != 1:
        fix = "Leave activation and threshold out of the manifest's output, or name another one."
        what = "depth is one channel" if spec.task == "depth" else "a threshold is for one channel"
        return f"{what}, and there are {channels}", fix
    if channels == 1 and spec.activation == "softmax":
        return (
            "with one channel of scores every pixel is that class",
            "Name two `classes`, the background first, and set `activation: sigmoid` for the manifest's output "
            "(`activation: none` if the network gives probabilities).",
        )
    if channels < spec.channels:
        listed = ", ".join(spec.classes)
        return f"{channels} channels are fewer than its classes ({listed})", "Correct `classes` in the manifest."
    if channels > MOST_CHANNELS:
        fix = "Correct the manifest's output, or export the network with fewer channels."
        return f"{channels} channels are more than class maps can tell apart ({MOST_CHANNELS})", fix
    return None


def _promise(manifest: Manifest) -> str:
    spec, frame = manifest.output, manifest.input
    pixels = f"in the proportions of the input ({frame.height}x{frame.width})"
    if spec.kind == "classmap":
        return f"a class map of integers{' and its confidence' if spec.confidence else ''}, {pixels}"
    channels = "1" if spec.activation != "softmax" else f"{spec.channels} or more"
    what = "depth" if spec.task == "depth" else "logits"
    axes = [channels, "height", "width"] if spec.layout == "nchw" else ["height", "width", channels]
    return f"{what} of shape [1, {', '.join(axes)}], {pixels}"
