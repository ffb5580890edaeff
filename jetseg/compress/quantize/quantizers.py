"""Fake quantization: rounds as ONNX's QuantizeLinear and DequantizeLinear do, and lets gradients through."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Ranges = Literal["learned", "fixed"]
ACTIVATION_LIMITS = (-128, 127)
WEIGHT_LIMITS = (-127, 127)


def fake_quantize(x: Tensor, scale: Tensor, limits: tuple[int, int] = ACTIVATION_LIMITS) -> Tensor:
    """Rounds to multiples of a scale, half to even, within integer limits.

    The gradient passes straight through to `x` where it was not clipped. The gradient of the scale is that of
    learned step size quantization (arXiv:1902.08153), with its factor 1 / sqrt(number of values * largest integer).

    Args:
        x: float32, any shape.
        scale: float32, > 0; broadcasts against `x`, with one axis at most that is not 1.
        limits: Smallest and largest integer.

    >>> fake_quantize(torch.tensor([0.3, 0.5, 100.0]), torch.tensor(0.2)).tolist()
    [0.20000000298023224, 0.4000000059604645, 25.399999618530273]
    """
    return cast("Tensor", _FakeQuantize.apply(x, scale, *limits))  # type: ignore[no-untyped-call]


class ActivationQuantizer(nn.Module):
    """One scale for a whole tensor; the logarithm of its change is what is learned, so it stays positive.

    Args:
        scale: The calibrated scale, one element.
        ranges: "fixed" keeps it.
    """

    start: Tensor

    def __init__(self, scale: Tensor, ranges: Ranges) -> None:
        super().__init__()
        self.register_buffer("start", scale.reshape(()).clone(), persistent=False)
        self.log_change = nn.Parameter(torch.zeros(()), requires_grad=ranges == "learned")

    @property
    def scale(self) -> Tensor:
        """The scale as it is now, without axes."""
        return self.start * self.log_change.exp()

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x` rounded to 8 bits."""
        return fake_quantize(x, self.scale)


class WeightQuantizer(nn.Module):
    """A scale per output channel that follows the largest weight of the channel.

    Args:
        weight: The weight at the start.
        scale: Its scales in the file: one per channel, or one in all.
        axis: Axis of the output channels.
    """

    share: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, axis: int) -> None:
        super().__init__()
        self._shape = [-1 if index == axis % weight.ndim else 1 for index in range(weight.ndim)]
        self._per_channel = scale.numel() > 1
        whole = self._largest(weight) / WEIGHT_LIMITS[1]
        share = scale.reshape(whole.shape) / whole
        # a channel of zeros keeps the scale of the file; any would do
        self.register_buffer("floor", torch.where(whole > 0, 0.0, scale.reshape(whole.shape)), persistent=False)
        ordinary = (whole == 0) | ((share - 1).abs() < 1e-5)
        self.register_buffer("share", torch.where(ordinary, 1.0, share), persistent=False)

    floor: Tensor

    def scale(self, weight: Tensor) -> Tensor:
        """Returns the scales of a weight, of a shape that broadcasts against it."""
        scale = self._largest(weight) / WEIGHT_LIMITS[1] * self.share
        return torch.where(scale > 0, scale, self.floor.clamp(min=torch.finfo(scale.dtype).tiny))

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight rounded to 8 bits."""
        return fake_quantize(weight, self.scale(weight.detach()), WEIGHT_LIMITS)

    def _largest(self, weight: Tensor) -> Tensor:
        if not self._per_channel:
            return weight.abs().amax().reshape([1] * weight.ndim)
        return weight.abs().amax([axis for axis, size in enumerate(self._shape) if size == 1], keepdim=True)


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.save_for_backward(x, scale)
        ctx.limits = (low, high)
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        x, scale = ctx.saved_tensors
        low, high = ctx.limits
        ratio = x / scale
        integers = ratio.round().clamp_(low, high)
        inside = (ratio > low - 0.5) & (ratio < high + 0.5)
        for_scale = None
        if ctx.needs_input_grad[1]:
            error = torch.where(inside, integers - ratio, integers)
            factor = 1 / math.sqrt(x.numel() / scale.numel() * high)
            for_scale = (gradient * error).sum_to_size(scale.shape) * factor
        return gradient * inside, for_scale, None, None
