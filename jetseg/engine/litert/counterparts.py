"""Which tensor of a LiteRT file is which of the ONNX network, told by their values on a frame of noise.

A converter folds, fuses, moves and renames; what a tensor holds it does not change.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from jetseg.engine.litert.layout import channels_last, output_names
from jetseg.engine.litert.library import open_interpreter
from jetseg.engine.litert.model_file import ModelFile, Values
from jetseg.errors import QualityError
from jetseg.evaluation.benchmark import noise_frame
from jetseg.network import Network
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session, run_session
from jetseg.preprocess import Preprocessor

_RELATIVE_ERROR = 2e-4
"""Of a tensor's largest magnitude: sums are added up in another order."""
_LEAST_AGREEMENT = 0.998
"""Of the pixels of a class map: noise is near the borders between classes everywhere."""


def find_counterparts(network: Network, graph: Graph, content: bytes, file: ModelFile) -> dict[int, tuple[str, ...]]:
    """Returns the tensors of the ONNX network that hold the values of each tensor of a float file.

    Args:
        network: The float network.
        graph: Its graph.
        content: The LiteRT file that was converted from it.
        file: The same, parsed.

    Raises:
        QualityError: The file computes another output than the network.
    """
    network_input = Preprocessor(network.manifest.input)(noise_frame(network.manifest.input))
    floats, outputs = graph.float_tensors(), output_names(network.manifest, graph.outputs)
    names = [name for node in graph.nodes for name in node.output if name in floats and name not in graph.constants]
    values = _run_onnx(graph, [*names, *outputs], network.image_input, network_input)
    expected = values[len(names) :]
    known = {**dict(zip(names, values, strict=False)), network.image_input: network_input}
    interpreter = open_interpreter(content, "The converted file", plain=True)
    (place,) = file.inputs
    interpreter.set_tensor(place, channels_last(network_input, network.manifest))
    interpreter.invoke()
    made = {place, *(int(other) for operator in file.operators for other in operator.outputs)}
    found = {index: _same(interpreter.get_tensor(index), known.items()) for index in sorted(made)}
    given = [interpreter.get_tensor(index) for index in file.outputs]
    if len(given) != len(expected) or not all(map(_is_output, given, expected)):
        raise QualityError(
            f"litert-torch's file does not compute what {network.path} computes, on a frame of noise.",
            "No file was written. Build for onnxruntime.",
        )
    return found


def _run_onnx(graph: Graph, names: list[str], input_name: str, network_input: Values) -> list[Values]:
    watched = onnx.ModelProto()
    watched.CopyFrom(graph.model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    return run_session(make_session(watched.SerializeToString(), arena=False), names, {input_name: network_input})


def _is_output(values: Values, expected: Values) -> bool:
    """Tells whether a file gives what the network gives: scores, or all but some pixels of a class map."""
    if expected.dtype.kind == "f":
        return bool(_same(values, [("output", expected)]))
    forms = [form for form in (expected, np.moveaxis(expected, 1, -1)) if form.shape == values.shape]
    return any(float(np.mean(form == values)) >= _LEAST_AGREEMENT for form in forms)


def _same(values: Values, known: Iterable[tuple[str, Values]]) -> tuple[str, ...]:
    if values.dtype != np.float32 or not values.size:
        return ()
    limit = _RELATIVE_ERROR * max(float(np.abs(values).max()), 1e-30)
    mean = float(values.mean(dtype=np.float64))
    return tuple(
        name
        for name, other in known
        if other.size == values.size
        and abs(float(other.mean(dtype=np.float64)) - mean) <= limit
        and _close(values, other, limit)
    )


def _close(values: Values, other: Values, limit: float) -> bool:
    forms = [other, np.moveaxis(other, 1, -1)] if other.ndim > 2 else [other]
    flat = values.ravel()
    return any(float(np.abs(form.ravel() - flat).max()) <= limit for form in forms)
