"""Runs a network over images and counts its activations, one image at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetseg.errors import CalibrationError
from jetseg.manifest import Manifest
from jetseg.onnx.channel_axes import channel_axes
from jetseg.onnx.graph import Graph
from jetseg.onnx.pieces import PiecewiseRunner
from jetseg.preprocess import FrameU8, Preprocessor
from jetseg.quantization.observe.histogram import StreamingHistogram

_HELD_BYTES = 64 << 20
"""Of activations at a time: a frame of a large network has hundreds of megabytes."""


@dataclass
class Observed:
    """What calibration saw of each tensor.

    Attributes:
        histograms: All values, by tensor.
        amax_by_frame: Largest magnitude in each frame, by tensor.
        channel_low: Smallest value of each channel, mean over the frames; empty unless asked for.
        channel_high: Largest value of each channel, mean over the frames.
    """

    histograms: dict[str, StreamingHistogram]
    amax_by_frame: dict[str, list[float]]
    channel_low: dict[str, npt.NDArray[np.float64]]
    channel_high: dict[str, npt.NDArray[np.float64]]

    @property
    def frames(self) -> int:
        """Number of frames that were seen."""
        return max((len(values) for values in self.amax_by_frame.values()), default=0)


def observe(
    graph: Graph,
    tensors: Iterable[str],
    manifest: Manifest,
    input_name: str,
    frames: Iterable[FrameU8],
    threads: int | None = None,
    *,
    by_channel: bool = False,
) -> Observed:
    """Counts the values of some activations over frames.

    Args:
        graph: The float network.
        tensors: Names of the activations.
        manifest: The network's manifest, for preprocessing.
        input_name: The graph's input that takes the image.
        frames: BGR frames; read once, one at a time.
        threads: Threads of ONNX Runtime.
        by_channel: Also keep the range of each channel.

    Returns:
        What was seen of each tensor.

    Raises:
        CalibrationError: There is no frame, or an activation is not finite.
    """
    histograms = {name: StreamingHistogram(name) for name in tensors}
    observed = [name for name in histograms if name != input_name]
    runner = PiecewiseRunner(graph, observed, _HELD_BYTES, threads)
    preprocess = Preprocessor(manifest.input)
    axes = channel_axes(graph) if by_channel else {}
    seen = Observed(histograms, {name: [] for name in histograms}, {}, {})
    for frame in frames:
        network_input = preprocess(frame)
        if input_name in histograms:
            _add(seen, input_name, network_input.astype(np.float32, copy=False), axes.get(input_name))
        for name, values in runner.run({input_name: network_input}):
            _add(seen, name, values, axes.get(name))
    count = seen.frames
    if not count:
        raise CalibrationError("There is no image to calibrate on.", "Give a dataset and split that has some.")
    for extremes in (seen.channel_low, seen.channel_high):
        extremes.update({name: sums / count for name, sums in extremes.items()})
    return seen


def _add(seen: Observed, name: str, values: npt.NDArray[np.float32], axis: int | None) -> None:
    extremes = None
    if axis is not None and values.size:
        channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        lows, highs = channels.min(axis=1), channels.max(axis=1)
        for sums, found in ((seen.channel_low, lows), (seen.channel_high, highs)):
            sums[name] = sums.get(name, 0.0) + found.astype(np.float64)
        extremes = float(lows.min()), float(highs.max())
    low, high = seen.histograms[name].update(values, extremes)
    seen.amax_by_frame[name].append(max(-low, high))
