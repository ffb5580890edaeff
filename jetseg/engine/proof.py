"""Proves at the start that frames are prepared and scores are read as they were when the engine was built.

A manifest that was changed since, mean or color order for example, gives class maps that look like class maps. What a
drawn frame becomes on its way into the network, and drawn scores on their way out, tells: exactly, on every machine,
and without running the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.errors import ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.measured import Proof
from jetseg.postprocess import task_map
from jetseg.preprocess import Preprocessor

_PLACES = 64
"""How many values of the prepared frame are kept."""
_MAP_SIDE = 256
"""Longer side of the drawn scores, in pixels."""
_WIDEST_SCORE = 12.0
_FEW_PIXELS = 8
_TOLERANCE = 1e-6
"""Of values in float32; computed in double precision, they are the same on all machines that were seen."""


def prove(manifest: Manifest) -> Proof:
    """Returns what a drawn frame and drawn scores become by this manifest.

    >>> manifest = Manifest.model_validate({"classes": ["sky", "road"], "input": {"height": 2, "width": 4}})
    >>> prove(manifest).class_pixels
    (11117, 10714, 10937)
    """
    prepared = Preprocessor(manifest.input)(_frame(manifest.input)).reshape(-1)
    values = prepared[_numbers(_PLACES) % prepared.size]
    counts = [_pixels(task) for task in manifest.tasks]
    return Proof(input=tuple(map(float, values)), class_pixels=counts[0], further=tuple(counts[1:]))


def check_proof(manifest: Manifest, name: str) -> None:
    """Refuses a manifest by which frames or scores become something else than when the engine was built.

    Args:
        manifest: Of the engine; one without a proof, as older versions wrote it, is not checked.
        name: What is opened, for the message.

    Raises:
        ManifestError: It does.
    """
    kept = manifest.proof
    if kept is None:
        return
    found = prove(manifest)
    same_input = len(kept.input) == _PLACES and np.allclose(found.input, kept.input, rtol=_TOLERANCE, atol=_TOLERANCE)
    same_maps = found.class_pixels == kept.class_pixels and _alike(found.further, kept.further)
    if not same_input or not same_maps:
        part = "scores become class maps in another way" if same_input else "frames become another input"
        raise ManifestError(
            f"By the manifest of {name}, {part} than when it was built: a number in it was changed since, or this "
            "version of jetseg computes something else.",
            "Copy it again, or build the engine anew.",
        )


def _alike(found: Sequence[tuple[int, ...]], kept: Sequence[tuple[int, ...]]) -> bool:
    """Compares counts of further outputs; of depth, a pixel may fall on the other side of an edge."""
    same_form = list(map(len, found)) == list(map(len, kept))
    return same_form and all(
        abs(count - other) <= _FEW_PIXELS
        for counts, others in zip(found, kept, strict=True)
        for count, other in zip(counts, others, strict=True)
    )


def _pixels(task: Manifest) -> tuple[int, ...]:
    """Counts the pixels of each class, and void, in the map of drawn scores; of depth, those of each eighth."""
    found = task_map(_scores(task), task)
    if task.output.depth is None:
        return tuple(map(int, np.bincount(found.reshape(-1), minlength=task.num_classes + 1)))
    edges = np.linspace(task.output.depth.low, task.output.depth.high, 9)
    return tuple(map(int, np.histogram(found, edges)[0]))


def _numbers(count: int) -> npt.NDArray[np.uint32]:
    """Returns numbers without a pattern, the same ones everywhere and forever: the end of MurmurHash3 of 1, 2, ..."""
    numbers = np.arange(1, count + 1, dtype=np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        numbers ^= numbers >> shift
        numbers *= np.uint32(factor)
    return np.asarray(numbers ^ (numbers >> 16), dtype=np.uint32)


def _frame(spec: InputSpec) -> npt.NDArray[Any]:
    """Draws a frame of the network's own size, so that nothing is resized: libraries differ in that by a gray level."""
    numbers = _numbers(spec.height * spec.width * 3).reshape(spec.height, spec.width, 3)
    if spec.color == "gray":
        numbers = np.repeat(numbers[..., :1], 3, axis=2)  # whose gray value needs no rounding
    if spec.frames is None:
        return (numbers >> 24).astype(np.uint8)
    return ((numbers >> 16) >> (numbers & 15)).astype(np.uint16)  # dark values, which a window tells apart, are many


def _scores(manifest: Manifest) -> npt.NDArray[Any]:
    spec, frame = manifest.output, manifest.input
    scale = _MAP_SIDE / max(frame.height, frame.width)
    height, width = (max(1, round(side * scale)) for side in (frame.height, frame.width))
    if spec.kind == "classmap":
        planes = (1, 2, height, width) if spec.confidence else (1, height, width)
        return (_numbers(int(np.prod(planes))) >> 24).astype(np.uint8).reshape(planes)
    channels = spec.channels + (spec.activation == "softmax")  # one channel beyond the classes: void
    shape = (1, channels, height, width) if spec.layout == "nchw" else (1, height, width, channels)
    numbers = _numbers(height * width * channels)
    shares = numbers / 2.0**32
    scores = np.where(numbers & 1, shares, _WIDEST_SCORE * (2 * shares - 1))  # every other one might be a probability
    return scores.astype(np.float32).reshape(shape)
