"""Which layer is to blame: each layer alone in 8 bits, everything else in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from jetseg.calibrate.correction import Arithmetic
from jetseg.calibrate.graph import FloatGraph
from jetseg.calibrate.placement import is_matrix_layer, output_axis
from jetseg.calibrate.ranges import Policy, TensorRange
from jetseg.calibrate.schemes import weight_scales
from jetseg.calibrate.stepping import Stepper, Tensor
from jetseg.manifest import Manifest
from jetseg.ort import make_session, run_session
from jetseg.postprocess import ClassMap, class_map
from jetseg.progress import track


@dataclass(frozen=True)
class LayerEffect:
    """What one layer in 8 bits does.

    Attributes:
        layer: The layer, by its output tensor.
        agreement: Pixels that keep the float network's class, in percent.
    """

    layer: str
    agreement: float


def layer_sensitivity(
    graph: FloatGraph,
    manifest: Manifest,
    arithmetic: Arithmetic,
    policy: Policy,
    tensors: Mapping[str, TensorRange],
    feeds: Sequence[Mapping[str, Tensor]],
    threads: int | None = None,
) -> list[LayerEffect]:
    """Quantizes one layer at a time, inputs and weights, and counts the pixels that change their class.

    What stands before a layer is computed once for all layers, what stands after it once per layer.

    Args:
        graph: The float network.
        manifest: Its manifest.
        arithmetic: The backend's arithmetic.
        policy: Placement of the quantizers.
        tensors: Ranges by activation.
        feeds: Graph inputs, one mapping per frame; all are held in memory.
        threads: Threads of ONNX Runtime.

    Returns:
        The quantized layers, the worst first.
    """
    placement = arithmetic.place(graph, policy, tensors)
    quantizers = arithmetic.quantizers(placement, tensors)
    wanted = [_decide(_Rest(graph, 0, threads), manifest, feed) for feed in feeds]
    stepper = Stepper(graph, feeds, threads)
    effects = []
    for position, node in track(list(enumerate(graph.model.graph.node)), "Looking for sensitive layers"):
        if is_matrix_layer(graph, node) and node.output[0] in placement.integer_nodes:
            name = node.input[0]
            rounded = [quantizers[name](frame[name]) for frame in stepper.frames]
            outputs = _layer_alone(graph, node, rounded, arithmetic.weight_limit, threads)
            rest = _Rest(graph, position + 1, threads)
            found = [
                _decide(rest, manifest, {**frame, node.output[0]: output})
                for frame, output in zip(stepper.frames, outputs, strict=True)
            ]
            same = [float(np.mean(one == other)) for one, other in zip(found, wanted, strict=True)]
            effects.append(LayerEffect(node.output[0], round(100.0 * float(np.mean(same)), 3)))
        stepper.run(node)
    return sorted(effects, key=lambda effect: effect.agreement)


class _Rest:
    """The part of a network from some node on."""

    def __init__(self, graph: FloatGraph, position: int, threads: int | None) -> None:
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        nodes = list(model.graph.node)[position:]
        made = {name for node in nodes for name in node.output}
        self.reads = sorted(
            {name for node in nodes for name in node.input if name} - made - set(graph.weights)
            | ({*graph.outputs} - made)
        )
        self.outputs = graph.outputs
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        self._model, self._session, self._threads = model, None, threads

    def run(self, values: Mapping[str, Tensor], output: str) -> Tensor:
        """Returns an output of the network, given what the first part computed."""
        if output in self.reads:
            return values[output]
        feed = {name: values[name] for name in self.reads if name not in self.outputs}
        if self._session is None:
            del self._model.graph.input[:]
            for name, value in feed.items():
                kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
                self._model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, list(value.shape)))
            self._session = make_session(self._model.SerializeToString(), threads=self._threads)
        return run_session(self._session, [output], feed)[0]


def _decide(rest: _Rest, manifest: Manifest, values: Mapping[str, Tensor]) -> ClassMap:
    return class_map(rest.run(values, manifest.output.name or rest.outputs[0]), manifest)


def _layer_alone(
    graph: FloatGraph, node: onnx.NodeProto, inputs: Sequence[Tensor], limit: int, threads: int | None
) -> list[Tensor]:
    """Returns what a layer computes from rounded inputs with rounded weights."""
    weight = graph.weight(node.input[1])
    axis = output_axis(node)
    shape = [-1 if position == axis else 1 for position in range(weight.ndim)]
    scale = (weight_scales(weight, axis) * np.float32(127 / limit)).reshape(shape)
    alone = graph.copy()
    layer = next(found for found in alone.model.graph.node if found.output[0] == node.output[0])
    alone.set_weight(layer.input[1], np.round(weight / scale) * scale)
    stepper = Stepper(alone, [{layer.input[0]: value} for value in inputs], threads)
    return [outputs[0] for outputs in stepper.evaluate(layer, {name: name for name in layer.input if name})]
