"""Keeps pruned weights at zero while the others are trained on."""

from __future__ import annotations

import torch
from torch import nn


class ZeroKeeper:
    """Remembers which weights are zero, and sets them to zero again after each step.

    Only kernels and matrices count (parameters of two or more dimensions), as in unstructured pruning.

    Args:
        module: The network as pruning left it; it is changed by `apply`.
    """

    def __init__(self, module: nn.Module) -> None:
        weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
        self._masks = [(weight, weight.detach() != 0) for weight in weights if bool((weight == 0).any())]

    def apply(self) -> None:
        """Sets the weights that were zero at the start to zero."""
        with torch.no_grad():
            for weight, mask in self._masks:
                weight.mul_(mask)
