"""Operators that look along whole axes, in torch: normalizations, sums and means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from jetseg.compress.qat.node import Node, Operator, Value, integers, optional, required


def batch_norm(node: Node, inputs: Sequence[Value]) -> Tensor:
    """BatchNormalization, by the statistics that it holds."""
    x, scale, shift, mean, variance = (required(node, inputs, index) for index in range(5))
    return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=node.get("epsilon", 1e-5))


def global_average_pool(node: Node, inputs: Sequence[Value]) -> Tensor:
    """GlobalAveragePool."""
    x = required(node, inputs, 0)
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def softmax(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Softmax."""
    return required(node, inputs, 0).softmax(dim=node.get("axis", -1))


def layer_norm(node: Node, inputs: Sequence[Value]) -> Tensor:
    """LayerNormalization; only its first output."""
    x, scale, shift = required(node, inputs, 0), required(node, inputs, 1), optional(inputs, 2)
    normal = F.layer_norm(x, x.shape[node.get("axis", -1) :], eps=node.get("epsilon", 1e-5)) * scale
    return normal if shift is None else normal + shift


def instance_norm(node: Node, inputs: Sequence[Value]) -> Tensor:
    """InstanceNormalization."""
    x, scale, shift = (required(node, inputs, index) for index in range(3))
    return F.instance_norm(x, weight=scale, bias=shift, eps=node.get("epsilon", 1e-5))


def reduced(compute: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """Returns an operator that reduces axes, of a function of a tensor, its axes and whether they are kept with size 1.

    The axes are an attribute or, in newer opsets, the second input; without them all are reduced.
    """

    def reduce(node: Node, inputs: Sequence[Value]) -> Tensor:
        x, given = required(node, inputs, 0), optional(inputs, 1)
        axes = node.get("axes", []) if given is None else integers(given)
        if not axes and node.get("noop_with_empty_axes", 0):
            return x
        return compute(x, axes or list(range(x.ndim)), bool(node.get("keepdims", 1))).to(x.dtype)

    return reduce
