"""Estimates the statistics of batch norms anew, after the layers before them were changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def reestimate_(module: nn.Module, batches: Sequence[Tensor]) -> None:
    """Replaces the mean and variance that each batch norm remembers by those of some inputs; weights stay.

    What a pruned network loses at once is for a large part due to these, and comes back without any training
    (Li et al., EagleEye, arXiv:2007.02491).

    Args:
        module: The network; it is left in eval mode. Without batch norms nothing happens.
        batches: float32, N x C x H x W each.

    >>> norm = nn.BatchNorm2d(1)
    >>> reestimate_(norm, [torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)])
    >>> norm.running_mean.item(), norm.running_var.item()
    (2.0, 2.0)
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm) and norm.running_mean is not None]
    kept = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
        norm.train()
    try:
        with torch.no_grad():
            for images in batches if norms else ():
                module(images)
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
        module.eval()
