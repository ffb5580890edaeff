"""The graph that torch-tensorrt is given: precision and pixels inside, in operators that it knows, checked by value."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetseg.errors import ArtifactError, QualityError
from jetseg.exporters.config import PlanPrecision
from jetseg.exporters.onnx_export import first_line

MAX_RELATIVE_ERROR = {"fp32": 1e-3, "fp16": 5e-2}
"""Largest difference to the network in float32, as a fraction of the largest logit."""


class HalfInside(nn.Module):
    """A network whose weights and computation are in half precision; what comes in is cast, what goes out is not.

    TensorRT from version 11 on computes in the types that the graph has, and in no others, so they are set here.

    Args:
        network: Turns float32 N x C x H x W into logits; its weights are cast in place.

    Raises:
        ArtifactError: A weight is too large for half precision.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()
        for name, value in itertools.chain(network.named_parameters(), network.named_buffers()):
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise ArtifactError(
                    f"{name} holds a number beyond 65504, where half precision ends.",
                    "Take `precision` fp32, or export to ONNX, which folds normalizations into layers.",
                )

    def forward(self, image: Tensor) -> Tensor:
        """Returns float16 logits."""
        logits: Tensor = self.network(image.half())
        return logits


def capture(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Captures a module as a graph without operators that torch-tensorrt lacks, or computes in another type.

    Args:
        module: In eval mode.
        example: An input.

    Raises:
        ArtifactError: torch.export cannot capture it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of itself
            program: torch.export.ExportedProgram = torch.export.export(module, (example,)).run_decompositions(
                _REPLACED
            )
    except Exception as error:  # whatever a foreign network raises
        raise ArtifactError(
            f"torch.export cannot capture the network: {first_line(error).rstrip('.')}.",
            "Its forward must not choose operations by the values of tensors, nor make tensors of a fixed type.",
        ) from error
    return program


def plain_max_pool(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> Tensor:
    """Computes `torch.nn.functional.max_pool2d` without dilation and without rounding the size up.

    Windows that reach over the end read rows and columns of minus infinity there; dilated windows become the maximum
    of shifted copies.

    >>> x = torch.arange(25.0).reshape(1, 1, 5, 5)
    >>> bool((plain_max_pool(x, [2], ceil_mode=True) == F.max_pool2d(x, 2, ceil_mode=True)).all())
    True
    """
    kernel, pad, gap = (_pair(value) for value in (kernel_size, padding, dilation))
    step = _pair(stride) if len(stride) else kernel
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, gap, strict=True)]
    sizes, ends = [], []
    for size, span, p, s in zip(x.shape[-2:], spans, pad, step, strict=True):
        room = size + 2 * p - span
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= size + p:
            count -= 1  # a window must not begin in the padding behind the image
        sizes.append(count)
        ends.append(max(0, (count - 1) * s + span - size - p))
    if gap == (1, 1) and ends == list(pad):
        return _pool(x, kernel, step, pad)
    x = F.pad(x, (pad[1], ends[1], pad[0], ends[0]), value=float("-inf"))
    if gap == (1, 1):
        return _pool(x, kernel, step, (0, 0))
    return _largest_of_shifted(x, kernel, step, gap, sizes)


def _pool(x: Tensor, kernel: Sequence[int], step: Sequence[int], pad: Sequence[int]) -> Tensor:
    # not max_pool2d, which is what is being replaced; torch-tensorrt drops the indices that nothing reads
    pooled: Tensor = torch.ops.aten.max_pool2d_with_indices.default(x, kernel, step, pad)[0]
    return pooled


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return (value[0], value[-1])


def _largest_of_shifted(
    x: Tensor, kernel: tuple[int, int], step: tuple[int, int], gap: tuple[int, int], sizes: Sequence[int]
) -> Tensor:
    result: Tensor | None = None
    for row, column in itertools.product(range(kernel[0]), range(kernel[1])):
        top, left = row * gap[0], column * gap[1]
        bottom, right = top + (sizes[0] - 1) * step[0] + 1, left + (sizes[1] - 1) * step[1] + 1
        shifted = x[..., top : bottom : step[0], left : right : step[1]]
        result = shifted if result is None else torch.maximum(result, shifted)
    return x if result is None else result


def typed_clamp(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Computes `torch.clamp` with bounds of the input's type: plain numbers make torch-tensorrt compute in float32."""
    if low is not None:
        x = torch.maximum(x, torch.full((1,) * x.ndim, low, dtype=x.dtype, device=x.device))
    if high is not None:
        x = torch.minimum(x, torch.full((1,) * x.ndim, high, dtype=x.dtype, device=x.device))
    return x


def _hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    return typed_clamp(x, low, high)


def _relu6(x: Tensor) -> Tensor:
    return typed_clamp(x, 0.0, 6.0)


_REPLACED = {
    torch.ops.aten.max_pool2d.default: plain_max_pool,
    torch.ops.aten.clamp.default: typed_clamp,
    torch.ops.aten.hardtanh.default: _hardtanh,
    torch.ops.aten.relu6.default: _relu6,
}


def check_captured(
    captured: Callable[[Tensor], Tensor], images: Sequence[Tensor], expected: Sequence[Tensor], precision: PlanPrecision
) -> None:
    """Compares what a captured graph computes with the logits of the network in float32.

    Args:
        captured: From an input to float32 logits, N x C x H x W, or to uint8 class ids, N x H x W.
        images: Inputs.
        expected: Logits of the network, one for each input.
        precision: What the graph computes in.

    Raises:
        QualityError: A logit, or that of the class that was chosen in place of the best, is further off than rounding
            explains; or a number is not finite.
    """
    error, largest = 0.0, 0.0
    with torch.no_grad():
        for image, logits in zip(images, expected, strict=True):
            found = captured(image)
            if found.is_floating_point():
                distances = (found - logits).abs()
            else:
                distances = logits.amax(dim=1) - logits.gather(1, found.long().unsqueeze(1)).squeeze(1)
            error = max(error, float(distances.nan_to_num(float("inf")).max()))
            largest = max(largest, float(logits.abs().max()))
    if not error <= MAX_RELATIVE_ERROR[precision] * largest:
        raise QualityError(
            f"The graph for torch-tensorrt, in {precision}, does not compute what the network computes: logits differ "
            f"by up to {error:.3g}, and the largest is {largest:.3g}.",
            "No file was written. Export to ONNX"
            + (", or take `precision` fp32: half precision ends at 65504." if precision == "fp16" else "."),
        )
