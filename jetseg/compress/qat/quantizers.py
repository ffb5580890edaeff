"""Fake quantization: rounds as ONNX's QuantizeLinear and DequantizeLinear do, and lets gradients through."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Ranges = Literal["learned", "fixed"]
SMALLEST, LARGEST = -128, 127
"""What int8 holds; weights use no more than -127 to 127, as their scale is the largest of them / 127."""


def fake_quantize(x: Tensor, scale: Tensor) -> Tensor:
    """Rounds to multiples of a scale, half to even, within the limits of int8.

    The gradient passes straight through to `x` where it was not clipped. The gradient of the scale is that of
    learned step size quantization (arXiv:1902.08153), with its factor 1 / sqrt(number of values * largest integer).

    Args:
        x: float32, any shape.
        scale: float32, > 0; broadcasts against `x`.

    >>> fake_quantize(torch.tensor([0.125, 0.375, 100.0]), torch.tensor(0.25)).tolist()
    [0.0, 0.5, 31.75]
    """
    return cast("Tensor", _FakeQuantize.apply(x, scale))  # type: ignore[no-untyped-call]


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

    No weight is clipped then, and whoever quantizes the trained weights anew finds the same scales. Learned
    scales were no better: on ESPNet both end at the same agreement with the teacher.

    Args:
        weight: The weight at the start.
        scale: Its scales in the file: one per channel, or one in all. Where they are not the largest weight / 127,
            their ratio to that is kept.
        axis: Axis of the output channels.
    """

    ratio: Tensor
    of_zeros: Tensor
    axes: list[int]
    """Those that share a scale."""

    def __init__(self, weight: Tensor, scale: Tensor, axis: int) -> None:
        super().__init__()
        channels = {axis % weight.ndim} if scale.numel() > 1 else set()
        self.axes = [index for index in range(weight.ndim) if index not in channels]
        whole = self._largest(weight) / LARGEST
        ratio = scale.reshape(whole.shape) / whole
        usual = (whole == 0) | ((ratio - 1).abs() < 1e-5)
        self.register_buffer("ratio", torch.where(usual, 1.0, ratio), persistent=False)
        self.register_buffer("of_zeros", scale.reshape(whole.shape).clone(), persistent=False)

    def scale(self, weight: Tensor) -> Tensor:
        """Returns the scales of a weight, of a shape that broadcasts against it; a channel of zeros keeps its own."""
        scale = self._largest(weight) / LARGEST * self.ratio
        return torch.where(scale > 0, scale, self.of_zeros)

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight rounded to 8 bits."""
        return fake_quantize(weight, self.scale(weight.detach()))

    def _largest(self, weight: Tensor) -> Tensor:
        return weight.abs().amax(self.axes, keepdim=True)


def units(weight: Tensor, axes: list[int] | None = None) -> Tensor:
    """Returns the units that a weight is trained in.

    An optimizer such as Adam moves every value by about its learning rate, whatever the size of its gradient. Weights
    are of any size, though: those that read pixels are hundreds of times smaller than others, and channels of one layer
    may differ by thousands. In units of its own channel, their root mean square, each moves by about the same number of
    quantization steps. What shall not move has the unit 0: zeros of kernels and matrices, which pruning made, and
    matrices that take means or interpolate, as some exporters write pooling and resizing.

    Args:
        weight: As it is at the start.
        axes: Axes that share a unit; all by default.

    >>> units(torch.tensor([[7.0, 1.0], [0.0, 4.0]]), [1]).tolist()
    [[5.0, 5.0], [0.0, 2.8284270763397217]]
    """
    size = weight.square().mean(axes or list(range(weight.ndim)), keepdim=True).sqrt()
    unit = torch.where(size > 0, size, 1.0).expand_as(weight).clone()
    return unit * (weight != 0) * (not _takes_means(weight)) if weight.ndim > 1 else unit


def _takes_means(weight: Tensor) -> bool:
    """Tells whether a matrix holds shares that add up to one for each row, or for each column; no learned one does."""
    if weight.ndim != 2 or bool((weight < 0).any()):
        return False
    return any(bool(((weight.sum(axis) - 1).abs() < 1e-4).all()) for axis in (0, 1))


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.save_for_backward(x, scale)
        return (x / scale).round_().clamp_(SMALLEST, LARGEST).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401 - torch's own
        x, scale = ctx.saved_tensors
        ratio = x / scale
        inside = (ratio > SMALLEST - 0.5) & (ratio < LARGEST + 0.5)
        for_scale = None
        if ctx.needs_input_grad[1]:
            integers = ratio.round().clamp_(SMALLEST, LARGEST)
            error = torch.where(inside, integers - ratio, integers)
            factor = 1 / math.sqrt(x.numel() / scale.numel() * LARGEST)
            for_scale = (gradient * error).sum_to_size(scale.shape) * factor
        return gradient * inside, for_scale
