"""Runs a network over images and counts its activations, one image at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from jetseg.calibrate.graph import FloatGraph
from jetseg.calibrate.histogram import StreamingHistogram
from jetseg.errors import CalibrationError
from jetseg.manifest import Manifest
from jetseg.ort import make_session, run_session
from jetseg.preprocess import FrameU8, Preprocessor


def collect(
    graph: FloatGraph,
    tensors: Iterable[str],
    manifest: Manifest,
    input_name: str,
    frames: Iterable[FrameU8],
    threads: int | None = None,
) -> dict[str, StreamingHistogram]:
    """Counts the values of some activations over frames.

    Args:
        graph: The float network.
        tensors: Names of the activations.
        manifest: The network's manifest, for preprocessing.
        input_name: The graph's input that takes the image.
        frames: BGR frames; read once, one at a time.
        threads: Threads of ONNX Runtime.

    Returns:
        A histogram per tensor.

    Raises:
        CalibrationError: There is no frame, or an activation is not finite.
    """
    histograms = {name: StreamingHistogram(name) for name in tensors}
    observed = [name for name in histograms if name != input_name]
    session = make_session(_with_outputs(graph.model, observed), threads=threads)
    preprocess = Preprocessor(manifest.input)
    seen = 0
    for frame in frames:
        network_input = preprocess(frame)
        if input_name in histograms:
            histograms[input_name].update(network_input.astype(np.float32, copy=False))
        for name, values in zip(observed, run_session(session, observed, {input_name: network_input}), strict=True):
            histograms[name].update(values)
        seen += 1
    if not seen:
        raise CalibrationError("There is no image to calibrate on.", "Give a dataset and split that has some.")
    return histograms


def _with_outputs(model: onnx.ModelProto, tensors: list[str]) -> bytes:
    """Returns the model, serialized, with `tensors` as its outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    content: bytes = watched.SerializeToString()
    return content
