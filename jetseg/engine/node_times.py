"""What the nodes of a network take, told from the steps of an engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

import onnx

from jetseg.engine.backend import StepTime
from jetseg.onnx.cost import product_macs
from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE
from jetseg.quantization.qdq.kernels import is_matrix_layer
from jetseg.quantization.qdq.placement import FUSED_ACTIVATIONS


def find_atoms(graph: Graph) -> dict[str, str]:
    """Returns what runs as one: by the first output of each node that of the layer whose kernel does its work."""
    atoms: dict[str, str] = {}
    for node in graph.nodes:
        source = graph.producer.get(node.input[0]) if node.input else None
        alone = source is not None and graph.only_consumer(source.output[0]) is node
        if source is not None and alone and node.op_type in FUSED_ACTIVATIONS:
            atoms[node.output[0]] = atoms[source.output[0]]
        else:
            atoms[node.output[0]] = node.output[0]
    return atoms


def spent_ms(graph: Graph, atoms: Mapping[str, str], steps: Sequence[StepTime]) -> dict[str, float]:
    """Adds up the steps of each atom, but for quantizers; a step of the runtime's own belongs to what it follows.

    The time of a step that covers several products is divided by their multiply-accumulates.
    """
    spent: dict[str, float] = defaultdict(float)
    named = {_plain(graph, step.tensor) for step in steps}
    macs = product_macs(graph) if any(step.covers for step in steps) else {}
    shares: dict[str, float] = {}
    for step in steps:
        if step.operator in (QUANTIZE, DEQUANTIZE):
            continue
        node = graph.producer.get(_plain(graph, step.tensor))
        if node is not None and step.covers:
            shares = _shares(graph, node, named, macs)
        elif node is not None:
            shares = {_whose_work(graph, node, step.operator, named).output[0]: 1.0}
        for name, share in shares.items():
            spent[atoms[name]] += share * step.ms
    return spent


def named_share(graph: Graph, steps: Sequence[StepTime]) -> float:
    """Returns the part of the time whose steps say which node they are of, quantizers left out, 0..1."""
    layers = [step for step in steps if step.operator not in (QUANTIZE, DEQUANTIZE)]
    known = sum(step.ms for step in layers if _plain(graph, step.tensor) in graph.producer)
    return known / (sum(step.ms for step in layers) or 1.0)


def _plain(graph: Graph, tensor: str | None) -> str:
    """Returns the network's own tensor that a step makes, in 8 bits or not."""
    name, _, form = (tensor or "").rpartition(".")
    return name if form in ("quantized", "dequantized") and name in graph.producer else tensor or ""


def _shares(graph: Graph, node: onnx.NodeProto, named: Container[str], macs: Mapping[str, int]) -> dict[str, float]:
    """Returns the products between a node and what other steps make, with their parts of the work; else the node."""
    waiting, seen = [node], {node.output[0]}
    covered: dict[str, int] = {}
    while waiting:
        other = waiting.pop()
        if other.output[0] in macs:
            covered[other.output[0]] = macs[other.output[0]]
        for name in other.input:
            if name not in named and name not in seen and name in graph.producer:
                seen.add(name)
                waiting.append(graph.producer[name])
    total = sum(covered.values())
    return {name: count / total for name, count in covered.items() if count} if total else {node.output[0]: 1.0}


def _whose_work(graph: Graph, node: onnx.NodeProto, operator: str, named: Container[str]) -> onnx.NodeProto:
    """Returns the convolution whose kernel does a node's work, if the runtime named the kernel after the node."""
    waiting = [node] if operator == "Conv" else []
    while waiting and not is_matrix_layer(graph, waiting[0]):
        names = (name for name in waiting.pop(0).input if name not in named)
        waiting += [graph.producer[name] for name in names if name in graph.producer]
    return waiting[0] if waiting else node
