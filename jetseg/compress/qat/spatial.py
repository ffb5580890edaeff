"""Operators that look at neighborhoods, in torch: convolutions, poolings and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetseg.compress.qat.node import Node, Value, integers, optional, required, unsupported

_CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def conv(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Conv."""
    x, weight, bias = required(node, inputs, 0), required(node, inputs, 1), optional(inputs, 2)
    rank = weight.ndim - 2
    window = _Window(node, list(weight.shape[2:]), list(x.shape[2:]))
    padding: Sequence[int] = window.begin
    if window.begin != window.end:
        x, padding = F.pad(x, window.torch_pads()), [0] * rank
    result: Tensor = _CONVOLUTIONS[rank](
        x, weight, bias, window.strides, padding, window.dilations, node.get("group", 1)
    )
    return result


def conv_transpose(node: Node, inputs: Sequence[Value]) -> Tensor:
    """ConvTranspose, without `output_shape`."""
    x, weight, bias = required(node, inputs, 0), required(node, inputs, 1), optional(inputs, 2)
    rank = weight.ndim - 2
    pads = node.get("pads", [0] * 2 * rank)
    begin, end = pads[:rank], pads[rank:]
    symmetric = begin == end
    result: Tensor = _TRANSPOSED[rank](
        x,
        weight,
        bias,
        node.get("strides", [1] * rank),
        begin if symmetric else [0] * rank,
        node.get("output_padding", [0] * rank),
        node.get("group", 1),
        node.get("dilations", [1] * rank),
    )
    if not symmetric:
        for axis in range(rank):
            size = result.shape[axis + 2] - begin[axis] - end[axis]
            result = result.narrow(axis + 2, begin[axis], size)
    return result


def max_pool(node: Node, inputs: Sequence[Value]) -> Tensor:
    """MaxPool; only its first output."""
    x = required(node, inputs, 0)
    window = _Window(node, node.get("kernel_shape"), list(x.shape[2:]))
    padding: Sequence[int] = window.begin
    if not window.native():
        x, padding = F.pad(x, window.torch_pads(), value=float("-inf")), [0] * len(window.kernel)
    pool = _MAX_POOLS[len(window.kernel)]
    result: Tensor = pool(x, window.kernel, window.strides, padding, window.dilations, bool(node.get("ceil_mode", 0)))
    return result


def average_pool(node: Node, inputs: Sequence[Value]) -> Tensor:
    """AveragePool, with or without the padding in the mean."""
    x = required(node, inputs, 0)
    window = _Window(node, node.get("kernel_shape"), list(x.shape[2:]))
    pool, rank = _AVERAGE_POOLS[len(window.kernel)], len(window.kernel)
    ceil, with_padding = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    if window.native():
        result: Tensor = pool(x, window.kernel, window.strides, window.begin, ceil, with_padding)
        return result
    result = pool(F.pad(x, window.torch_pads()), window.kernel, window.strides, [0] * rank, ceil)
    if not with_padding:
        inside = F.pad(torch.ones_like(x[:1, :1]), window.torch_pads())
        result = result / pool(inside, window.kernel, window.strides, [0] * rank, ceil)
    return result


def resize(node: Node, inputs: Sequence[Value]) -> Tensor:
    """Resize over the spatial axes, nearest or linear, in every usual coordinate transformation."""
    x = required(node, inputs, 0)
    mode, where = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    sizes, factors = _target(node, inputs, x)
    # torch has no asymmetric coordinates, and does not treat a single row or column as `pytorch_half_pixel` does
    if mode == "linear" and x.ndim == 4 and where != "asymmetric" and min(sizes) > 1:
        aligned = where == "align_corners"
        if aligned or factors == [size / old for size, old in zip(sizes, x.shape[2:], strict=True)]:
            return F.interpolate(x, size=sizes, mode="bilinear", align_corners=aligned)
    for axis, (size, factor) in enumerate(zip(sizes, factors, strict=True), start=2):
        if size != x.shape[axis] or factor != 1.0:
            places = _source_places(where, size, x.shape[axis], factor)
            x = _pick_nearest(node, x, axis, places) if mode == "nearest" else _blend(x, axis, places)
    return x


class _Window:
    """Kernel, strides, dilations and padding of a convolution or pooling; `auto_pad` resolved.

    Attributes:
        begin: Padding before each spatial axis.
        end: Padding behind each.
    """

    def __init__(self, node: Node, kernel: list[int], size: list[int]) -> None:
        rank = len(kernel)
        self.kernel = kernel
        self.strides: list[int] = node.get("strides", [1] * rank)
        self.dilations: list[int] = node.get("dilations", [1] * rank)
        pads = node.get("pads", [0] * 2 * rank)
        self.begin, self.end = list(pads[:rank]), list(pads[rank:])
        same = node.get("auto_pad", "NOTSET")
        if same in ("SAME_UPPER", "SAME_LOWER"):
            totals = [
                max(0, (-(-n // step) - 1) * step + (k - 1) * dilation + 1 - n)
                for n, step, k, dilation in zip(size, self.strides, kernel, self.dilations, strict=True)
            ]
            small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
            self.begin, self.end = (small, large) if same == "SAME_UPPER" else (large, small)

    def native(self) -> bool:
        """Tells whether torch's poolings take this padding."""
        return self.begin == self.end and all(2 * pad <= k for pad, k in zip(self.begin, self.kernel, strict=True))

    def torch_pads(self) -> list[int]:
        """Returns the padding as `torch.nn.functional.pad` wants it: last axis first."""
        pairs = list(zip(self.begin, self.end, strict=True))
        return [pad for pair in reversed(pairs) for pad in pair]


def _target(node: Node, inputs: Sequence[Value], x: Tensor) -> tuple[list[int], list[float]]:
    """Returns size and scale factor of each spatial axis."""
    axes = node.get("axes") or list(range(x.ndim))
    axes = [axis % x.ndim for axis in axes]
    factors, sizes = optional(inputs, 2), optional(inputs, 3)
    if sizes is not None and sizes.numel():
        wanted = dict(zip(axes, integers(sizes), strict=True))
        new = [wanted.get(axis, x.shape[axis]) for axis in range(2, x.ndim)]
        return new, [size / old for size, old in zip(new, x.shape[2:], strict=True)]
    if factors is None or not factors.numel():
        raise unsupported(node, "neither sizes nor scales")
    given = dict(zip(axes, factors.tolist(), strict=True))
    if any(given.get(axis, 1.0) != 1.0 for axis in (0, 1)):
        raise unsupported(node, "a change of batch or channels")
    ratios = [float(given.get(axis, 1.0)) for axis in range(2, x.ndim)]
    # in float32 as ONNX Runtime does: 10 times 0.7 is 7 there
    return [int(torch.tensor(float(old)) * ratio) for old, ratio in zip(x.shape[2:], ratios, strict=True)], ratios


def _source_places(where: str, size: int, old: int, factor: float) -> Tensor:
    """Returns the coordinate in the source of each element of the result, float64."""
    places = torch.arange(size, dtype=torch.float64)
    if where == "asymmetric":
        return places / factor
    if where == "align_corners":
        return places * ((old - 1) / (size - 1) if size > 1 else 0.0)
    if where == "pytorch_half_pixel" and size == 1:
        return torch.zeros(1, dtype=torch.float64)
    return (places + 0.5) / factor - 0.5


def _pick_nearest(node: Node, x: Tensor, axis: int, places: Tensor) -> Tensor:
    rounding = node.get("nearest_mode", "round_prefer_floor")
    if rounding == "floor":
        chosen = places.floor()
    elif rounding == "ceil":
        chosen = places.ceil()
    elif rounding == "round_prefer_ceil":
        chosen = (places + 0.5).floor()
    else:
        chosen = (places - 0.5).ceil()
    return x.index_select(axis, chosen.long().clamp(0, x.shape[axis] - 1).to(x.device))


def _blend(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """Interpolates linearly along one axis; the border repeats its outermost value."""
    places = places.clamp(0, x.shape[axis] - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (places - low).to(x.dtype).view([-1 if index == axis else 1 for index in range(x.ndim)]).to(x.device)
    return torch.lerp(x.index_select(axis, low.to(x.device)), x.index_select(axis, high.to(x.device)), share)
