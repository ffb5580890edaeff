"""Which products of two activations, those of attentions, this machine computes faster on integers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper

from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session, run_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.qdq.kernels import is_activation_product
from jetseg.quantization.qdq.placement import range_source
from jetseg.quantization.ranges import TensorRange

_FUSED = frozenset({"Transpose", "Mul", "Div", "Reshape", "Squeeze", "Unsqueeze"})
"""What ONNX Runtime computes within a float product, or moves for an integer one: it belongs to the comparison."""
_LEAST_GAIN = 1.05
"""Two timings of the same differ by less."""
_KNOWN: dict[str, bool] = {}
"""What this process timed before, by shapes: all engines of one build have the same products on integers."""
_UNIT = TensorRange(low=0.0, high=1.0, amax=1.0, seen_low=0.0, seen_high=1.0)
"""Any range does: values do not change the speed."""


def faster_products(graph: Graph, tensors: Mapping[str, TensorRange]) -> frozenset[str]:
    """Times each product of two activations in float and on integers, quantizers included, in turn on one thread.

    Products of the same shapes are timed once in a process. A linear layer needs no such trial, its weights are packed
    beforehand; here both sides are quantized at each frame, which small products and slow integer kernels do not pay
    back.

    Args:
        graph: The float network.
        tensors: Ranges by activation; a product without them stays in float, and so does one of open shape.

    Returns:
        The products that are at least a twentieth faster on integers, by output.
    """
    found = []
    for node in graph.nodes:
        covered = all(range_source(graph, name) in tensors for name in node.input)
        piece = _piece(graph, node) if is_activation_product(graph, node) and covered else None
        if piece is None:
            continue
        key = _shapes_of(piece)
        if key not in _KNOWN:
            _KNOWN[key] = _is_faster(piece, node.output[0])
        if _KNOWN[key]:
            found.append(node.output[0])
    return frozenset(found)


def _piece(graph: Graph, node: onnx.NodeProto) -> Graph | None:
    """Cuts out a product with what moves and scales its operands; None where a shape is open."""
    nodes, inputs = [node], list[onnx.ValueInfoProto]()
    for operand in dict.fromkeys(node.input):
        before = _moved_by(graph, operand)
        source = operand if not before else _operand(graph, before[0])
        sizes = graph.shapes.get(source, ())
        if not sizes or not all(sizes):
            return None
        nodes[:0] = before
        inputs.append(helper.make_tensor_value_info(source, TensorProto.FLOAT, sizes))
    output = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    return Graph(graph.part(nodes, inputs, [output]))


def _moved_by(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """Returns the chain of nodes that move or scale a tensor, in order."""
    found: list[onnx.NodeProto] = []
    producer = graph.producer.get(name)
    while producer is not None and producer.op_type in _FUSED and graph.only_consumer(producer.output[0]) is not None:
        name = _operand(graph, producer)
        if any(read != name and read not in graph.weights for read in producer.input):
            break
        found.insert(0, producer)
        producer = graph.producer.get(name)
    return found


def _operand(graph: Graph, node: onnx.NodeProto) -> str:
    return str(next(name for name in node.input if name not in graph.weights))


def _shapes_of(piece: Graph) -> str:
    nodes = [(node.op_type, str(node.attribute), piece.shapes.get(node.output[0])) for node in piece.nodes]
    return str(([piece.shapes[name] for name in piece.inputs], nodes))


def _is_faster(piece: Graph, product: str) -> bool:
    arithmetic = ARITHMETICS["onnxruntime"]
    placement = arithmetic.place(piece, "conv-inputs", {}, products=frozenset({product}))
    rendered = arithmetic.render(piece.copy(), placement, dict.fromkeys(placement.activations.values(), _UNIT))
    noise = np.random.default_rng(0)
    feed = {name: noise.random([int(size or 1) for size in piece.shapes[name]], np.float32) for name in piece.inputs}
    calls = {}
    for name, model in (("float", piece.model), ("integers", rendered)):
        session = make_session(model.SerializeToString(), threads=1, integers=name == "integers")
        calls[name] = partial(run_session, session, [product], feed)
    spent = quiet_latencies_ms(calls, clock=time.thread_time)
    return spent["float"] >= _LEAST_GAIN * spent["integers"]
