"""Turns a network in half precision into the same one in float32, and proves by value that it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from jetseg.errors import ArtifactError

_MOST_ERROR = 0.02
"""Largest mean difference, in parts of an output's range; rounding to 11 bits at each layer gives about 0.001."""
_OPEN_SIZE = 64
"""Size of an axis that the network leaves open, for the proof."""
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})


def has_half(model: onnx.ModelProto) -> bool:
    """Tells whether a network holds values in half precision: weights, constants, inputs, outputs or casts."""
    ports = (*model.graph.input, *model.graph.output)
    if any(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in ports):
        return True
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in _all_tensors(model)):
        return True
    return any(attribute.i == TensorProto.FLOAT16 for attribute in _type_attributes(model))


def to_float32(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Returns the same network in float32, its inputs and outputs included.

    Both are run on a random input, and compared.

    Args:
        model: The network, with its weights.
        name: What it is called in messages.

    Raises:
        ArtifactError: The result computes something else, or the comparison cannot be made.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in _all_tensors(changed):
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for attribute in _type_attributes(changed):
        if attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
    for graph in _all_graphs(changed):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
    _check(model, changed, name)
    return changed


def _check(model: onnx.ModelProto, changed: onnx.ModelProto, name: str) -> None:
    fix = "Export the network in float32; jetseg chooses the precision of an engine."
    feeds = _random_inputs(model)
    try:
        exact = _run(model, feeds)
        found = _run(changed, {key: _widened(value) for key, value in feeds.items()})
    except ArtifactError as error:
        raise ArtifactError(f"{name} is in half precision, and cannot be run to compare: {error.found}", fix) from error
    for before, after in zip(exact, found, strict=True):
        if not _alike(before, after):
            raise ArtifactError(f"{name} is in half precision, and computes something else in float32.", fix)


def _run(model: onnx.ModelProto, feeds: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    from jetseg.onnx.session import make_session, run_session  # which itself asks here whether to convert

    session = make_session(model.SerializeToString())
    return run_session(session, [value.name for value in session.get_outputs()], feeds)


def _random_inputs(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    generator = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in constants:
            kind = value.type.tensor_type
            shape = [size.dim_value or (_OPEN_SIZE if axis else 1) for axis, size in enumerate(kind.shape.dim)]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            values = generator.normal(size=shape) if dtype.kind == "f" else generator.integers(0, 255, shape)
            feeds[value.name] = values.astype(dtype)
    return feeds


def _alike(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> bool:
    """Tells whether two outputs differ by no more than rounding explains; where half precision overflows, all goes."""
    if before.shape != after.shape:
        return False
    if before.dtype.kind != "f":
        return float(np.mean(before == after)) >= 1 - _MOST_ERROR
    exact, found = before.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(exact)
    if not finite.any():
        return True
    error, extent = np.abs(exact - found)[finite].mean(), np.ptp(exact[finite])
    return bool(error <= _MOST_ERROR * max(extent, np.abs(exact[finite]).max()))


def _widened(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _type_attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Yields the attributes that name a data type."""
    for node in _all_nodes(model):
        yield from (attribute for attribute in node.attribute if attribute.name in _TYPE_ATTRIBUTES)


def _all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _all_graphs(model):
        yield from graph.initializer
    for node in _all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for holder in (*_all_graphs(model), *model.functions):
        yield from holder.node


def _all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yields the graph and its branches, those of functions included."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, onnx.GraphProto):
            yield holder
        for node in holder.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs
