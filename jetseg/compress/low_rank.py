"""Low-rank factorization of single convolutions: the factors of a given rank, and how to choose the rank."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from jetseg.models.factors import Factors, spatial_factors, tucker_factors

_GOLDEN = (math.sqrt(5) - 1) / 2


def spatial_svd(conv: nn.Conv2d, rank: int) -> Factors:
    """Splits a convolution into a vertical and a horizontal one (Jaderberg et al., arXiv:1405.3866).

    The product of the two is the best approximation of the kernel with this rank, in the least-squares sense.

    Args:
        conv: A dense convolution.
        rank: Channels between the two.
    """
    left, values, right = torch.linalg.svd(_spatial_matrix(conv), full_matrices=False)
    height, width = conv.kernel_size
    root = values[:rank].sqrt()
    factors = spatial_factors(conv, rank)
    vertical = (left[:, :rank] * root).T.reshape(rank, conv.in_channels, height, 1)
    horizontal = (root[:, None] * right[:rank]).reshape(rank, conv.out_channels, 1, width).transpose(0, 1)
    _fill_(factors, [vertical, horizontal], conv)
    return factors


def tucker2(conv: nn.Conv2d, in_rank: int, out_rank: int, sweeps: int = 10) -> Factors:
    """Splits a convolution into 1x1, k x k and 1x1 (Kim et al., arXiv:1511.06530).

    The factors come from the truncated higher-order SVD and are improved by orthogonal iteration.

    Args:
        conv: A dense convolution.
        in_rank: Input channels of the middle convolution.
        out_rank: Its output channels.
        sweeps: Iterations.
    """
    kernel = conv.weight.detach().double()
    inner = _leading(_unfold(kernel, 1), in_rank)
    outer = _leading(_unfold(kernel, 0), out_rank)
    for _ in range(sweeps):
        outer = _leading(_unfold(torch.einsum("oihw,ir->orhw", kernel, inner), 0), out_rank)
        inner = _leading(_unfold(torch.einsum("oihw,or->rihw", kernel, outer), 1), in_rank)
    core = torch.einsum("oihw,ir,os->srhw", kernel, inner, outer)
    factors = tucker_factors(conv, in_rank, out_rank)
    _fill_(factors, [inner.T[:, :, None, None], core, outer[:, :, None, None]], conv)
    return factors


def spatial_spectrum(conv: nn.Conv2d) -> Tensor:
    """Returns the singular values that `spatial_svd` cuts off at its rank, descending."""
    values: Tensor = torch.linalg.svdvals(_spatial_matrix(conv))
    return values


def tucker_spectra(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Returns the singular values along the input and along the output channels, descending."""
    kernel = conv.weight.detach().double()
    return torch.linalg.svdvals(_unfold(kernel, 1)), torch.linalg.svdvals(_unfold(kernel, 0))


def spatial_shape(conv: nn.Conv2d) -> tuple[int, int]:
    """Returns rows and columns of the matrix that `spatial_svd` decomposes."""
    return conv.in_channels * conv.kernel_size[0], conv.out_channels * conv.kernel_size[1]


def energy_rank(values: Tensor, energy: float) -> int:
    """Returns the least rank that keeps a fraction of the squared singular values.

    >>> energy_rank(torch.tensor([3.0, 1.0, 0.1]), 0.95), energy_rank(torch.tensor([3.0, 1.0, 0.1]), 0.85)
    (2, 1)
    """
    kept = values.square().cumsum(0) / values.square().sum().clamp(min=1e-30)
    return min(len(values), int((kept < energy).sum()) + 1)


def vbmf_rank(values: Tensor, rows: int, columns: int) -> int:
    """Returns the rank that empirical variational Bayesian matrix factorization finds behind the noise.

    The analytic global solution, its noise variance estimated as well (Nakajima, Sugiyama, Babacan and Tomioka,
    "Global Analytic Solution of Fully-observed Variational Bayesian Matrix Factorization", JMLR 14, 2013).

    Args:
        values: All singular values of the matrix, descending.
        rows: Rows of the matrix.
        columns: Its columns.
    """
    short, long = min(rows, columns), max(rows, columns)
    alpha = short / long
    tau = 2.5129 * math.sqrt(alpha)
    threshold = (1 + tau) * (1 + alpha / tau)
    squares = values.double().square()
    if float(squares.sum()) == 0:
        return 0
    # the noise lies between that of the tail alone and that of everything
    most = min(math.ceil(short / (1 + alpha)) - 1, len(squares) - 1)
    upper = float(squares.sum()) / (short * long)
    lower = max(float(squares[most]) / (long * threshold), float(squares[most:].mean()) / long)
    noise = _least(lambda variance: _free_energy(squares / (long * variance), alpha, threshold), lower, upper)
    return int((squares > long * noise * threshold).sum())


def _free_energy(x: Tensor, alpha: float, threshold: float) -> float:
    """Returns the free energy as a function of the noise, up to a constant; `x` are scaled squares."""
    x = x.clamp(min=1e-30)
    above = x[x > threshold]
    centered = above - (1 + alpha)
    tau = (centered + (centered.square() - 4 * alpha).clamp(min=0).sqrt()) / 2
    signal = (tau + 1).log() + alpha * (tau / alpha + 1).log() - tau
    return float((x - x.log()).sum() + signal.sum())


def _least(function: Callable[[float], float], lower: float, upper: float) -> float:
    """Returns where a function is least: the best of a logarithmic grid, refined by golden section."""
    low, high = math.log(max(lower, 1e-300)), math.log(max(upper, lower, 1e-300))
    step = (high - low) / 64
    best = min((low + index * step for index in range(65)), key=lambda at: function(math.exp(at)))
    low, high = max(low, best - step), min(high, best + step)
    for _ in range(60):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if function(math.exp(first)) < function(math.exp(second)):
            high = second
        else:
            low = first
    return math.exp((low + high) / 2)


def _spatial_matrix(conv: nn.Conv2d) -> Tensor:
    """Returns the kernel as (input channel, row) x (output channel, column)."""
    kernel = conv.weight.detach().double()
    return kernel.permute(1, 2, 0, 3).reshape(spatial_shape(conv))


def _unfold(kernel: Tensor, axis: int) -> Tensor:
    return kernel.movedim(axis, 0).flatten(1)


def _leading(matrix: Tensor, rank: int) -> Tensor:
    left: Tensor = torch.linalg.svd(matrix, full_matrices=False).U
    return left[:, :rank]


def _fill_(factors: Factors, weights: list[Tensor], conv: nn.Conv2d) -> None:
    with torch.no_grad():
        for part, weight in zip(factors, weights, strict=True):
            part.to(conv.weight.dtype).weight.copy_(weight)  # type: ignore[operator]
        if conv.bias is not None:
            factors[-1].bias.copy_(conv.bias)  # type: ignore[operator]
