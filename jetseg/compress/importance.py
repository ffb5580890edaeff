"""How much each channel matters. All criteria follow the call contract of `torch_pruning` importances.

Called with a full group of coupled layers, they return one score per channel of the group's root, with mean 1
over the group, so that scores of different groups can be ranked together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from jetseg.train.losses import SegmentationLoss

Batch = tuple[Tensor, Tensor]
Importance = Callable[[Any], Tensor | None]
_OUT_CHANNELS = (
    torch_pruning.prune_conv_out_channels,
    torch_pruning.prune_depthwise_conv_out_channels,
    torch_pruning.prune_batchnorm_out_channels,
)


def magnitude(norm: int = 2) -> Importance:
    """Scores channels by the L1 norm or squared L2 norm of their weights (Li et al., arXiv:1608.08710).

    All layers that would lose the channel count: producers, normalization and consumers
    (Fang et al., arXiv:2301.12900).
    """
    scorer: Importance = torch_pruning.importance.GroupMagnitudeImportance(p=norm)
    return scorer


def taylor(module: nn.Module, batches: Iterable[Batch], ignore_index: int | None) -> Importance:
    """Scores channels by |weight x gradient| of the cross-entropy, summed over the weights of the channel.

    First-order Taylor expansion (Molchanov et al., arXiv:1906.10771). Gradients are averaged as absolute
    values over the batches: at the end of training signed ones cancel out.

    Args:
        module: The network, in eval mode; the averaged gradients stay in its parameters' `grad`.
        batches: Pairs of float32 N x C x H x W and uint8 labels N x H x W.
        ignore_index: Label id that is not scored, or None.
    """
    loss = SegmentationLoss(ignore_index)
    parameters = list(module.parameters())
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for images, labels in batches:
        module.zero_grad(set_to_none=True)
        loss(module(images), labels).backward()
        for total, parameter in zip(sums, parameters, strict=True):
            if parameter.grad is not None:
                total.add_(parameter.grad.abs())
    for total, parameter in zip(sums, parameters, strict=True):
        parameter.grad = total
    scorer: Importance = torch_pruning.importance.GroupTaylorImportance()
    return scorer


class ActivationImportance(torch_pruning.importance.Importance):  # type: ignore[misc]
    """Scores channels by their mean absolute activation (Molchanov et al., arXiv:1611.06440).

    Measured behind batch norm where there is one, because a convolution's own scale says nothing before it.

    Args:
        module: The network, in eval mode.
        batches: Pairs of float32 N x C x H x W and labels, which are not used.
    """

    def __init__(self, module: nn.Module, batches: Iterable[Batch]) -> None:
        self._sums: dict[nn.Module, Tensor] = {}
        layers = [layer for layer in module.modules() if isinstance(layer, (_ConvNd, _BatchNorm))]
        hooks = [layer.register_forward_hook(self._add) for layer in layers]
        try:
            with torch.no_grad():
                for images, _ in batches:
                    module(images)
        finally:
            for hook in hooks:
                hook.remove()

    def __call__(self, group: Any) -> Tensor | None:  # noqa: ANN401 - torch_pruning has no types
        """Returns one score per channel of the group's root; None if none of its layers was measured."""
        root_count = len(group[0].idxs)
        for kind in (_BatchNorm, _ConvNd):
            scores = torch.zeros(root_count)
            for item in group:
                layer, handler = item.dep.target.module, item.dep.handler
                if isinstance(layer, kind) and layer in self._sums and handler in _OUT_CHANNELS:
                    scores.index_add_(0, torch.tensor(item.root_idxs), self._sums[layer][item.idxs])
            if scores.any():
                return scores / scores.mean()
        return None

    def _add(self, layer: nn.Module, _inputs: object, output: Tensor) -> None:
        axes = [0, *range(2, output.ndim)]
        mean = output.abs().mean(dim=axes)
        self._sums[layer] = self._sums.get(layer, torch.zeros_like(mean)) + mean


class RandomImportance(torch_pruning.importance.Importance):  # type: ignore[misc]
    """Scores channels by chance: the baseline that any other criterion has to beat.

    Args:
        seed: The same seed gives the same scores.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, group: Any) -> Tensor:  # noqa: ANN401 - torch_pruning has no types
        """Returns one score in [0, 1) per channel of the group's root."""
        return torch.rand(len(group[0].idxs), generator=self._generator)
