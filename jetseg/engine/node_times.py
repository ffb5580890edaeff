"""What the nodes of a network take, told from the steps of an engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import onnx

from jetseg.engine.backend import StepTime
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
    """Adds up the steps of each atom, but for quantizers; a step of the runtime's own belongs to what it follows."""
    spent: dict[str, float] = defaultdict(float)
    named = {step.tensor for step in steps}
    last: str | None = None
    for step in steps:
        if step.operator in (QUANTIZE, DEQUANTIZE):
            continue
        node = graph.producer.get(step.tensor or "")
        if node is not None:
            last = atoms[_whose_work(graph, node, step.operator, named).output[0]]
        if last is not None:
            spent[last] += step.ms
    return spent


def _whose_work(graph: Graph, node: onnx.NodeProto, operator: str, named: set[str | None]) -> onnx.NodeProto:
    """Returns the convolution whose kernel does a node's work, if the runtime named the kernel after the node."""
    waiting = [node] if operator == "Conv" else []
    while waiting and not is_matrix_layer(graph, waiting[0]):
        names = (name for name in waiting.pop(0).input if name not in named)
        waiting += [graph.producer[name] for name in names if name in graph.producer]
    return waiting[0] if waiting else node
