"""The upsampling at a network's end, which a vehicle may do without."""

from __future__ import annotations

import onnx

from jetseg.errors import ArtifactError

_SPATIAL = 4


def last_upsampling(model: onnx.ModelProto) -> int:
    """Returns how many times as high the last operator makes the logits; 1 where it is no upsampling.

    Args:
        model: A network with one output, N x C x H x W, whose shapes are all written in it.
    """
    node = _producer(model)
    if node is None or node.op_type not in ("Resize", "Upsample"):
        return 1
    before, after = _shape(model, node.input[0]), _shape(model, node.output[0])
    if len(before) != _SPATIAL or len(after) != _SPATIAL or not all(before) or before[:2] != after[:2]:
        return 1
    return max(1, round(after[2] / before[2]))


def without_last_upsampling(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a network that gives its logits as they are before the last upsampling; all else is the same.

    Raises:
        ArtifactError: Its last operator is no upsampling.
    """
    if last_upsampling(model) == 1:
        raise ArtifactError(
            "The network's last operator is no upsampling, so there are no coarser logits.", "Leave `coarse` out."
        )
    coarse = onnx.ModelProto()
    coarse.CopyFrom(model)
    node, output = _producer(coarse), coarse.graph.output[0]
    if node is None:
        raise ArtifactError("The network's output is made by no operator.")
    source, sizes = node.input[0], _shape(coarse, node.input[0])
    coarse.graph.node.remove(node)
    for other in coarse.graph.node:
        for names in (other.input, other.output):
            names[:] = [output.name if name == source else name for name in names]
    del output.type.tensor_type.shape.dim[:]
    for size in sizes:
        output.type.tensor_type.shape.dim.add().dim_value = size
    stale = [info for info in coarse.graph.value_info if info.name in (source, output.name)]
    for info in stale:
        coarse.graph.value_info.remove(info)
    onnx.checker.check_model(coarse, full_check=True)
    return coarse


def _producer(model: onnx.ModelProto) -> onnx.NodeProto | None:
    name = model.graph.output[0].name
    return next((node for node in model.graph.node if name in node.output), None)


def _shape(model: onnx.ModelProto, name: str) -> tuple[int, ...]:
    """Returns the shape of a tensor; empty where it is not known, 0 for a size that is left open."""
    inferred = model if _info(model, name) is not None else onnx.shape_inference.infer_shapes(model)
    info = _info(inferred, name)
    return () if info is None else tuple(size.dim_value for size in info.type.tensor_type.shape.dim)


def _info(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto | None:
    known = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    return next((info for info in known if info.name == name and info.type.tensor_type.HasField("shape")), None)
