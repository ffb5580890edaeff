"""Operators that move values and compute none, in torch: what is cut, joined, gathered, padded and laid out anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jetseg.compress.qat.node import Node, Result, Value, integers, optional, required


def concat(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Concat."""
    return torch.cat([value for value in inputs if value is not None], dim=node.get("axis"))


def split(node: Node, inputs: Sequence[Value]) -> Result:
    """Split, by sizes or into as many parts as it has outputs."""
    x, sizes, axis = required(node, inputs, 0), optional(inputs, 1), node.get("axis", 0)
    if sizes is not None:
        return tuple(torch.split(x, integers(sizes), dim=axis))
    return tuple(torch.split(x, -(-x.shape[axis] // len(node.outputs)), dim=axis))


def cut(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Slice."""
    x = required(node, inputs, 0)
    starts, ends = (integers(required(node, inputs, index)) for index in (1, 2))
    axes, steps = optional(inputs, 3), optional(inputs, 4)
    along = range(len(starts)) if axes is None else integers(axes)
    strides = [1] * len(starts) if steps is None else integers(steps)
    for axis, start, end, stride in zip(along, starts, ends, strides, strict=True):
        chosen = range(*slice(start, end, stride).indices(x.shape[axis]))
        if stride == 1:
            x = x.narrow(axis, chosen.start, len(chosen))
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


def gather(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Gather."""
    x, index = required(node, inputs, 0), required(node, inputs, 1)
    axis = node.get("axis", 0) % x.ndim
    flat = index.flatten().to(x.device) % x.shape[axis]
    return x.index_select(axis, flat).reshape(x.shape[:axis] + index.shape + x.shape[axis + 1 :])


def reshape(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Reshape."""
    x, shape = required(node, inputs, 0), integers(required(node, inputs, 1))
    if not node.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def transpose(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Transpose."""
    x = required(node, inputs, 0)
    return x.permute(node.get("perm", list(range(x.ndim))[::-1]))


def flatten(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Flatten."""
    x, axis = required(node, inputs, 0), node.get("axis", 1)
    return x.reshape(int(torch.Size(x.shape[:axis]).numel()), -1)


def squeeze(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Squeeze."""
    x, axes = required(node, inputs, 0), optional(inputs, 1)
    return x.squeeze() if axes is None else x.squeeze(integers(axes))


def unsqueeze(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Unsqueeze."""
    x, axes = required(node, inputs, 0), integers(required(node, inputs, 1))
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def shape(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Shape."""
    shape = list(required(node, inputs, 0).shape)
    return torch.tensor(shape[node.get("start", 0) : node.get("end", None)], dtype=torch.int64)


def gather_nd(node: Node, inputs: Sequence[Value]) -> Tensor:
    """GatherND: the last axis of the indices names places in the axes behind those of the batch."""
    x, index = required(node, inputs, 0), required(node, inputs, 1).to(required(node, inputs, 0).device)
    batch = node.get("batch_dims", 0)
    own = [
        torch.arange(size, device=x.device).view([-1 if axis == other else 1 for other in range(index.ndim - 1)])
        for axis, size in enumerate(x.shape[:batch])
    ]
    places = (*own, *index.unbind(-1))
    return x[places]


def expand(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Expand; a size of 1 leaves an axis as it is."""
    x, shape = required(node, inputs, 0), integers(required(node, inputs, 1))
    return x.expand(torch.broadcast_shapes(x.shape, shape))  # type: ignore[no-untyped-call]


def pad(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Pad, or crop where a pad is negative, in all of ONNX's modes."""
    x, amounts = required(node, inputs, 0), integers(required(node, inputs, 1))
    fill, given = optional(inputs, 2), optional(inputs, 3)
    axes = list(range(x.ndim)) if given is None else [axis % x.ndim for axis in integers(given)]
    mode, pairs = node.get("mode", "constant"), dict.fromkeys(range(x.ndim), (0, 0))
    pairs.update(zip(axes, zip(amounts[: len(axes)], amounts[len(axes) :], strict=True), strict=True))
    if mode == "constant":
        return F.pad(x, [amount for axis in reversed(pairs) for amount in pairs[axis]], value=_fill(fill))
    for axis, (before, after) in pairs.items():
        if before or after:
            x = x.index_select(axis, _source(mode, x.shape[axis], before, after).to(x.device))
    return x


def _fill(value: Value) -> float:
    return 0.0 if value is None or not value.numel() else float(value)


def _source(mode: str, size: int, before: int, after: int) -> Tensor:
    """Returns which element of an axis each element of the padded one repeats."""
    places = torch.arange(-before, size + after)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    places = places % max(1, 2 * (size - 1))
    return torch.minimum(places, 2 * (size - 1) - places)
