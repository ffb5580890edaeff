"""Weight reconstruction: layer by layer, so that each layer makes up for the quantizers before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import LayerwiseRunner, Tensor
from jetseg.onnx.memory import return_freed_memory
from jetseg.onnx.node import attribute_int
from jetseg.progress import track
from jetseg.quantization.correct.activation_shift import add_to_bias_
from jetseg.quantization.correct.layer_matrix import LayerMatrix
from jetseg.quantization.correct.linear_matrix import LinearMatrix
from jetseg.quantization.correct.positions import Sampler, positions_per_frame
from jetseg.quantization.qdq.kernels import is_matrix_layer
from jetseg.quantization.qdq.placement import Placement
from jetseg.quantization.qdq.schemes import SYMMETRIC_LIMIT, Quantizer

RIDGE = 0.02
"""How much a weight is held to its old value, as a share of the mean power of the layer's inputs."""
LARGEST_SYSTEM = 1200
"""Layers that sum more products than this keep their weights: the solver would take minutes, and they gain least."""
_BLOCK = 64
"""Columns that are rounded before the rest learns of it: one product of matrices in place of many of vectors."""
_DAMPING = 0.01
_PRUNED = 0.1
"""A layer with a larger fraction of zeros was pruned, and keeps its weights."""
_LARGE_BYTES = 4e6
"""What is freed of activations as large as this is given back at once; it would not all fit what comes next."""
_WITH_BIAS = frozenset({"Conv", "ConvTranspose", "BatchNormalization"})

Matrix = npt.NDArray[np.float64]


def reconstruct_weights_(
    graph: Graph,
    placement: Placement,
    quantizers: Mapping[str, Quantizer],
    feeds: Sequence[Mapping[str, Tensor]],
    interest: Sequence[Tensor],
    *,
    original: Graph | None = None,
    weight_limit: int = SYMMETRIC_LIMIT,
    threads: int | None = None,
    seed: int = 0,
) -> None:
    """Reconstructs the weights and biases of every quantized layer, in graph order, on some frames.

    The float network and the quantized one advance together. For each layer: weights by least squares, so that
    what it computes from quantized inputs comes nearest to what the float network computes there; then rounded
    one column after the other, each column making up for the rounding of those before it (E. Frantar et al.,
    "GPTQ", 2022); then the bias, so that the mean of each output channel is that of the float network.

    Args:
        graph: The network; its weights and biases are changed.
        placement: Where quantizers stand.
        quantizers: Quantizer of each activation in `placement.activations`.
        feeds: Graph inputs, one mapping per frame; all frames are held in memory.
        interest: How often to look at each part of a frame, one array (height x width) per frame.
        original: The network as it is, which stays so; by default a copy is made.
        weight_limit: Largest magnitude of an integer weight.
        threads: Threads of ONNX Runtime.
        seed: Of the choice of positions.
    """
    sampler = Sampler(interest, seed)
    original = original or graph.copy()
    return_freed_memory()
    target, own = LayerwiseRunner(original, feeds, threads), LayerwiseRunner(graph, feeds, threads)
    pairs = list(zip(original.nodes, graph.nodes, strict=True))
    for reference, node in track(pairs, "Reconstructing weights"):
        target.run(reference)
        rounded = {name: quantizers[name] for name in node.input if placement.reads_rounded(graph, node, name)}
        name = node.output[0]
        layer = is_matrix_layer(graph, node) and name in placement.integer_nodes
        if layer:
            read, quantizer = own.values(node.input[0]), rounded.get(node.input[0])
            _reconstruct_weight_(graph, node, read, quantizer, target.values(name), weight_limit, sampler)
            del read  # the runner forgets frame by frame what no later node reads
        own.advance(node, own.evaluate(node, rounded))
        if own.values(name)[0].nbytes >= _LARGE_BYTES:
            return_freed_memory()
        if layer or (node.op_type == "BatchNormalization" and graph.owns(node)):
            _correct_bias_(graph, node, own.values(name), target.values(name))
        elif term := _linear_term(graph, node, placement):
            _correct_term_(graph, term, own.values(name), target.values(name))


def least_squares(weight: Matrix, moments: Matrix, residual: Matrix, ridge: float) -> Matrix:
    """Corrects weight matrices by ridge regression of what they miss.

    Args:
        weight: Groups x outputs x inputs.
        moments: Mean product of each pair of centered inputs: groups x inputs x inputs.
        residual: Mean product of each output's miss and each centered input: groups x outputs x inputs.
        ridge: Weight of staying where it is, as a share of the mean input power.

    >>> import numpy as np
    >>> least_squares(np.array([[[1.0, 0.0]]]), np.eye(2)[None], np.array([[[0.5, 0.5]]]), ridge=0.0)
    array([[[1.5, 0.5]]])
    """
    size = moments.shape[1]
    strength = ridge * np.trace(moments, axis1=1, axis2=2) / size + 1e-12
    held = moments + strength[:, None, None] * np.eye(size)
    return np.asarray(weight + np.linalg.solve(held, residual.transpose(0, 2, 1)).transpose(0, 2, 1))


def round_columns(weight: Matrix, moments: Matrix, limit: int = SYMMETRIC_LIMIT) -> Matrix:
    """Rounds weight matrices to 8 bits with a scale per row, columns making up for each other's rounding.

    The largest weight of each row stays where it is, so that the row's scale can be read off the result.

    Args:
        weight: Groups x outputs x inputs.
        moments: Mean product of each pair of inputs: groups x inputs x inputs.
        limit: Largest integer.

    Returns:
        The rounded weights, as multiples of their row's scale.

    >>> import numpy as np
    >>> round_columns(np.array([[[127.0, 3.4, -0.2]]]), np.eye(3)[None]).round(6)
    array([[[127.,   3.,  -0.]]])
    """
    magnitude = np.abs(weight).max(axis=2)
    scale = np.where(magnitude > 0, magnitude / limit, 1.0)[:, :, None]
    size = weight.shape[2]
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    damped = moments + np.eye(size) * (_DAMPING * diagonal.mean(axis=1) + 1e-12)[:, None, None]
    order = np.argsort(-diagonal, axis=1)
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    share = _shares(damped)
    exact = np.take_along_axis(weight, order[:, None, :], 2) / scale
    widest = np.abs(exact).argmax(axis=2)[:, :, None] == np.arange(size)
    rounded, missed = np.empty_like(exact), np.zeros_like(exact)
    for start in range(0, size, _BLOCK):
        block = slice(start, start + _BLOCK)
        wanted = exact[:, :, block] + missed[:, :, :start] @ share[:, block, :start].transpose(0, 2, 1)
        for step in range(start, min(start + _BLOCK, size)):
            made_up = missed[:, :, start:step] @ share[:, step, start:step, None]
            values = np.rint(wanted[:, :, step - start] + made_up[:, :, 0])
            np.minimum(np.maximum(values, -limit, out=values), limit, out=values)
            np.copyto(values, exact[:, :, step], where=widest[:, :, step])
            rounded[:, :, step] = values
            missed[:, :, step] = exact[:, :, step] - values
    return np.take_along_axis(rounded * scale, np.argsort(order, axis=1)[:, None, :], 2)


def _shares(moments: Matrix) -> Matrix:
    """Returns how much of what earlier columns miss each column makes up for: groups x columns x earlier columns.

    With the moments as U @ U.T, U upper triangular, the error is that of the misses times U: one column of the
    product after the other becomes as small as rounding lets it, which is what GPTQ does, without an inverse.
    """
    factor = np.linalg.cholesky(moments[:, ::-1, ::-1])[:, ::-1, ::-1].transpose(0, 2, 1)
    return np.ascontiguousarray(factor / np.diagonal(factor, axis1=1, axis2=2)[:, :, None])


def _reconstruct_weight_(
    graph: Graph,
    node: onnx.NodeProto,
    inputs: Sequence[Tensor],
    quantizer: Quantizer | None,
    wanted: Sequence[Tensor],
    limit: int,
    sampler: Sampler,
) -> None:
    weight = graph.weight(node.input[1])
    if np.count_nonzero(weight == 0) > _PRUNED * weight.size:
        return  # a solution of the least squares would fill the zeros
    linear = LinearMatrix.of(node, weight.shape)
    layout = linear or LayerMatrix.of(node, weight.shape, attribute_int(node, "group", 1))
    if layout is None or layout.inputs > LARGEST_SYSTEM or len(graph.consumers[node.input[1]]) != 1:
        return
    system = _System(layout.to_blocks(weight).astype(np.float64))
    count = positions_per_frame(layout.inputs)
    for frame, (values, targets) in enumerate(zip(inputs, wanted, strict=True)):
        read, target = layout.samples(values, targets, sampler.draw(frame, count))
        system.add(quantizer(read) if quantizer else read, target)
    graph.set_weight(node.input[1], layout.from_blocks(system.solve(limit), weight.shape))


class _System:
    """The normal equations of a layer, one set per group of channels, summed over frames."""

    def __init__(self, weight: Matrix) -> None:
        groups, outputs, inputs = weight.shape
        self._weight = weight
        self._count = 0
        self._center: Tensor = np.zeros(0, np.float32)
        self._sum, self._wanted = np.zeros((groups, inputs)), np.zeros((groups, outputs))
        self._moments, self._products = np.zeros((groups, inputs, inputs)), np.zeros((groups, outputs, inputs))

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Adds samples: `inputs` of groups x samples x inputs, `targets` of groups x samples x outputs."""
        if not self._count:  # what is wanted may be far from zero; float32 is finer near it
            self._center = targets.mean(axis=1, keepdims=True)
        targets = targets - self._center
        self._count += inputs.shape[1]
        self._sum += inputs.sum(axis=1, dtype=np.float64)
        self._wanted += targets.sum(axis=1, dtype=np.float64)
        self._moments += inputs.transpose(0, 2, 1) @ inputs
        self._products += targets.transpose(0, 2, 1) @ inputs

    def solve(self, limit: int) -> Matrix:
        """Returns the reconstructed and rounded weights; those of inputs that are always zero are only rounded."""
        moments, mean = self._moments / self._count, self._sum / self._count
        centered = moments - mean[:, :, None] * mean[:, None, :]
        wanted = self._products / self._count - (self._wanted / self._count)[:, :, None] * mean[:, None, :]
        weight = least_squares(self._weight, centered, wanted - self._weight @ centered, RIDGE)
        return round_columns(weight, moments, limit)


def _correct_bias_(graph: Graph, node: onnx.NodeProto, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Changes the bias of a layer, and with it what the layer computed for each frame."""
    if node.op_type not in _WITH_BIAS or outputs[0].ndim != 4:
        return
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias and (bias not in graph.weights or len(graph.consumers[bias]) != 1):
        return
    misses = [
        target.mean(axis=(0, 2, 3)) - output.mean(axis=(0, 2, 3))
        for target, output in zip(wanted, outputs, strict=True)
    ]
    change = np.asarray(np.mean(misses, axis=0), dtype=np.float32)
    add_to_bias_(graph, node, change)
    for output in outputs:
        np.add(output, change[:, None, None], out=output)


def _linear_term(graph: Graph, node: onnx.NodeProto, placement: Placement) -> str | None:
    """Returns the bias that a node adds to what a quantized MatMul writes, which has none of its own."""
    makers = [graph.producer.get(name) for name in node.input]
    if node.op_type != "Add" or not any(
        maker is not None and maker.op_type == "MatMul" and maker.output[0] in placement.integer_nodes
        for maker in makers
    ):
        return None
    return next((name for name in node.input if name in graph.weights and len(graph.consumers[name]) == 1), None)


def _correct_term_(graph: Graph, term: str, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Changes the bias of a linear layer, and with it what was computed for each frame."""
    size = outputs[0].shape[-1]
    if list(graph.weights[term].dims) != [size]:
        return
    misses = [(one - other).reshape(-1, size).mean(axis=0) for one, other in zip(wanted, outputs, strict=True)]
    change = np.asarray(np.mean(misses, axis=0), dtype=np.float32)
    graph.set_weight(term, graph.weight(term) + change)
    for output in outputs:
        np.add(output, change, out=output)
