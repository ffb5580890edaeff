"""Loads a float network for calibration and quantization: constants held, batch norms folded, GELU in one order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, version_converter

from jetseg.errors import ArtifactError
from jetseg.onnx.file import load_onnx
from jetseg.onnx.graph import Graph
from jetseg.onnx.half import has_half, to_float32
from jetseg.onnx.lookup import GraphError
from jetseg.onnx.node import attribute_float, attribute_int
from jetseg.onnx.quantizers import QUANTIZED_OPERATORS

MIN_OPSET = 13
"""The first opset with quantizers per channel."""
_MIN_IR = 7
"""The first format of the file that opset 13 belongs to; initializers need not be inputs there."""
_FLOAT8_IR = 9
"""The first format of the file that has 8-bit floats."""
_FIRST_MODES_OPSET = 11
"""The first opset whose Resize names how coordinates are computed, with another default than before."""


def load_float_graph(path: Path, sha256: str | None = None) -> Graph:
    """Loads an ONNX file for calibration or quantization.

    Half precision becomes float32, and an opset older than 13 is lifted, both in memory.

    Args:
        path: The file.
        sha256: The hash that it had when it was checked.

    Raises:
        ArtifactError: The file is broken, is quantized already, is in bfloat16, has branches, or cannot be lifted.
    """
    model = load_onnx(path, sha256)
    was_half = has_half(model)
    graph = Graph(model)
    found = sorted({node.op_type for node in graph.nodes} & QUANTIZED_OPERATORS)
    if found:
        raise ArtifactError(
            f"{path} is quantized already (it has {', '.join(found)}).", "Give the float network that it came from."
        )
    _refuse_what_cannot_be_calibrated(path, graph)
    if was_half:
        graph = Graph(to_float32(model, str(path)))
        bypass_casts_(graph)
    graph = lift(graph, MIN_OPSET, str(path))
    try:
        graph.check()
    except GraphError as error:
        raise ArtifactError(f"{path} holds no sound network. {error}", "Export it again.") from error
    hold_constants_(graph)
    bypass_identities_(graph)
    fold_batch_norms_(graph)
    reorder_gelu_(graph)
    return graph


def _refuse_what_cannot_be_calibrated(path: Path, graph: Graph) -> None:
    if any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in graph.weights.values()):
        raise ArtifactError(
            f"{path} has weights in bfloat16.", "Give the float32 network; jetseg chooses the precision of an engine."
        )
    for node in graph.nodes:
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise ArtifactError(
                f"{path} has branches or loops: node {node.name or node.output[0]} ({node.op_type}).",
                "Export the network for one fixed input size, without control flow.",
            )


def lift(graph: Graph, opset: int, name: str = "The network") -> Graph:
    """Returns the same network in an opset, or in its own if that is newer; its tensors keep their names.

    Args:
        graph: The network.
        opset: The oldest opset that will do.
        name: What it is called in messages.

    Raises:
        ArtifactError: ONNX's converter cannot lift it.
    """
    return graph if graph.opset >= opset else Graph(_lift(graph.model, graph.opset, opset, name))


def _lift(model: onnx.ModelProto, opset: int, wanted: int, name: str) -> onnx.ModelProto:
    outputs = list(model.graph.output)
    inner = {name for node in model.graph.node for name in node.output if name} - {value.name for value in outputs}
    # the converter keeps the names of outputs, and of other tensors only mostly
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(inner))
    try:
        lifted = version_converter.convert_version(model, wanted)
    except Exception as error:  # the converter's exceptions share no base of their own
        raise ArtifactError(
            f"{name} uses opset {opset}; its quantizers need {wanted} or later, and ONNX's converter could not lift "
            f"it: {error}.",
            f"Export it again with opset {wanted} or later.",
        ) from error
    del lifted.graph.output[:]
    lifted.graph.output.extend(outputs)
    lifted.ir_version = max(lifted.ir_version, _FLOAT8_IR if wanted > MIN_OPSET else _MIN_IR)
    if opset < _FIRST_MODES_OPSET:  # the converter leaves the newer defaults, which sample elsewhere
        for node in lifted.graph.node:
            if node.op_type == "Resize":
                node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
                node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    return lifted


def hold_constants_(graph: Graph) -> None:
    """Turns constant nodes that hold a tensor into initializers, and takes initializers off the list of inputs."""
    for node in graph.nodes:
        if node.op_type == "Constant" and any(entry.name == "value" for entry in node.attribute):
            graph.hold_constant(node)
    graph.unlist_weights()


def bypass_identities_(graph: Graph) -> None:
    """Lets who reads a copy of an initializer read the initializer, as exporters write shared weights."""
    outputs = graph.outputs
    for node in graph.nodes:
        if node.op_type == "Identity" and node.input[0] in graph.weights and node.output[0] not in outputs:
            graph.remove_node(node, instead=node.input[0])


def bypass_casts_(graph: Graph) -> None:
    """Takes out casts from float32 to float32, which half precision leaves behind."""
    floats, outputs = graph.float_tensors(), graph.outputs
    for node in graph.nodes:
        to_float = node.op_type == "Cast" and attribute_int(node, "to", 0) == onnx.TensorProto.FLOAT
        if not to_float or node.input[0] not in floats:
            continue
        maker = graph.producer.get(node.input[0])
        if node.output[0] not in outputs:
            graph.remove_node(node, instead=node.input[0])
        elif maker is not None and len(maker.output) == 1 and graph.only_consumer(node.input[0]) is node:
            graph.absorb(maker, node)


def fold_batch_norms_(graph: Graph) -> int:
    """Folds each batch norm that alone reads a convolution into that convolution; returns how many.

    The convolution takes over the name of the batch norm's output.
    """
    folded = 0
    for norm in graph.nodes:
        conv = graph.producer.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if conv is not None and _can_fold(graph, conv, norm):
            _fold(graph, conv, norm)
            folded += 1
    if folded:
        graph.drop_unused()
    return folded


def _can_fold(graph: Graph, conv: onnx.NodeProto, norm: onnx.NodeProto) -> bool:
    return (
        conv.op_type in ("Conv", "ConvTranspose")
        and len(norm.output) == 1
        and all(name in graph.weights for name in (*conv.input[1:], *norm.input[1:]) if name)
        and len(graph.consumers[conv.input[1]]) == 1
        and graph.only_consumer(norm.input[0]) is norm
    )


def _fold(graph: Graph, conv: onnx.NodeProto, norm: onnx.NodeProto) -> None:
    scale, shift, mean, variance = (graph.weight(name) for name in norm.input[1:5])
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + attribute_float(norm, "epsilon", 1e-5))
    weight = graph.weight(conv.input[1])
    if conv.op_type == "Conv":
        spread = factor.reshape(-1, *([1] * (weight.ndim - 1)))
    else:  # input channels x output channels per group x kernel
        per_group = factor.reshape(attribute_int(conv, "group", 1), 1, -1)
        spread = np.repeat(per_group, weight.shape[0] // per_group.shape[0], axis=1)
        spread = spread.reshape(weight.shape[0], -1, *([1] * (weight.ndim - 2)))
    bias = graph.weight(conv.input[2]) if len(conv.input) > 2 and conv.input[2] else np.zeros_like(mean)
    folded_weight = (weight * spread).astype(np.float32)
    folded_bias = ((bias - mean) * factor + shift).astype(np.float32)
    weight_name = graph.add_initializer(graph.free_name(f"{conv.input[1]}.folded"), folded_weight)
    bias_name = graph.add_initializer(graph.free_name(f"{norm.output[0]}.bias"), folded_bias)
    graph.set_inputs(conv, [conv.input[0], weight_name, bias_name])
    graph.absorb(conv, norm)


def reorder_gelu_(graph: Graph) -> int:
    """Writes x * (0.5 * (1 + erf(...))) as (x * (1 + erf(...))) * 0.5, to the same values; returns how often.

    torch exports GELU in the first order, and ONNX Runtime computes it as one operator in the second only. Halving
    is exact.
    """
    changed = 0
    for last in [node for node in graph.nodes if node.op_type == "Mul"]:
        for factor, other in (last.input, reversed(last.input)):
            half, alone = graph.producer.get(other), graph.only_consumer(other) is last
            if half is None or half.op_type != "Mul" or not alone or factor == other:
                continue
            halves = [name for name in half.input if name in graph.weights and np.all(graph.weight(name) == 0.5)]
            grown = next((name for name in half.input if name not in halves), "")
            if len(halves) != 1 or not _is_one_plus_erf(graph, grown):
                continue
            doubled = graph.free_name(f"{last.output[0]}.doubled")
            graph.insert_before(last, helper.make_node("Mul", [factor, grown], [doubled]))
            graph.set_inputs(last, [doubled, halves[0]])
            graph.remove_node(half)
            changed += 1
            break
    return changed


def _is_one_plus_erf(graph: Graph, name: str) -> bool:
    add = graph.producer.get(name)
    makers = [graph.producer.get(read) for read in add.input] if add is not None and add.op_type == "Add" else []
    return any(maker is not None and maker.op_type == "Erf" for maker in makers)
