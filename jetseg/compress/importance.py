"""How much each channel matters. All criteria follow the call contract of `torch_pruning` importances.

Called with a full group of coupled layers, they return one score per channel of the group's root. Scores of
different groups can be ranked together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from jetseg.compress.pruning_library import torch_pruning
from jetseg.train.losses import SegmentationLoss

Batch = tuple[Tensor, Tensor]
Importance = Callable[[Any], Tensor | None]
READING = (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)
"""Operations of `torch_pruning` that remove input channels of a layer."""


def magnitude(norm: int = 2) -> Importance:
    """Scores channels by the L1 norm or squared L2 norm of their weights (Li et al., arXiv:1608.08710).

    All layers that would lose the channel count: producers, normalization and consumers
    (Fang et al., arXiv:2301.12900).
    """
    scorer: Importance = torch_pruning.importance.GroupMagnitudeImportance(p=norm)
    return scorer


class BatchNormImportance(torch_pruning.importance.Importance):  # type: ignore[misc]
    """Scores channels by the gain of the batch norms behind them (Liu et al., arXiv:1708.06519).

    Channels that several batch norms scale, as before an addition, get the mean of the absolute gains.
    """

    def __call__(self, group: Any) -> Tensor | None:  # noqa: ANN401 - torch_pruning has no types
        """Returns one score per channel of the group's root; None if no batch norm scales them."""
        total, count = torch.zeros(len(group[0].idxs)), 0
        for item in group:
            layer = item.dep.target.module
            if isinstance(layer, _BatchNorm) and layer.weight is not None:
                gains = layer.weight.detach().abs().float()[item.idxs]
                total.index_add_(0, torch.tensor(item.root_idxs), gains)
                count += 1
        return total / count if count else None


class TaylorImportance(torch_pruning.importance.Importance):  # type: ignore[misc]
    """Scores channels by how much the cross-entropy would change without them, to first order.

    Without a channel, the weights that read it multiply zeros; so the change is the sum of weight x gradient
    over all weights that read it, whatever layers they belong to (Molchanov et al., arXiv:1906.10771, with the
    gate behind normalization and activation). Its absolute value is averaged over single frames, because at
    the end of training signed changes cancel out. The scores of all groups have the same unit.

    Args:
        module: The network, in eval mode; its gradients are overwritten.
        batches: Pairs of float32 N x C x H x W and labels N x H x W.
        ignore_index: Label id that is not scored, or None.
    """

    def __init__(self, module: nn.Module, batches: Iterable[Batch], ignore_index: int | None) -> None:
        loss = SegmentationLoss(ignore_index)
        readers = _readers(module)
        changes: dict[nn.Module, list[Tensor]] = {reader: [] for reader in readers}
        for images, labels in batches:
            for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
                module.zero_grad(set_to_none=True)
                loss(module(image), label).backward()
                for reader in readers:
                    changes[reader].append(_change_by_input_channel(reader))
        self._changes = {reader: torch.stack(rows) for reader, rows in changes.items()}

    def __call__(self, group: Any) -> Tensor | None:  # noqa: ANN401 - torch_pruning has no types
        """Returns one score per channel of the group's root; None if no layer reads the channels."""
        change = _sum_over_readers(group, self._changes)
        return None if change is None else change.abs().mean(dim=0)


class ActivationImportance(torch_pruning.importance.Importance):  # type: ignore[misc]
    """Scores channels by their mean absolute activation (Molchanov et al., arXiv:1611.06440).

    Measured where convolutions read the channels, so behind normalization, activation and addition.

    Args:
        module: The network, in eval mode.
        batches: Pairs of float32 N x C x H x W and labels, which are not used.
    """

    def __init__(self, module: nn.Module, batches: Iterable[Batch]) -> None:
        self._rows: dict[nn.Module, list[Tensor]] = {}
        hooks = [reader.register_forward_pre_hook(self._measure) for reader in _readers(module)]
        try:
            with torch.no_grad():
                for images, _ in batches:
                    module(images)
        finally:
            for hook in hooks:
                hook.remove()
        self._means = {reader: torch.stack(rows).mean(0, keepdim=True) for reader, rows in self._rows.items()}

    def __call__(self, group: Any) -> Tensor | None:  # noqa: ANN401 - torch_pruning has no types
        """Returns one score per channel of the group's root; None if no layer reads the channels."""
        activity = _sum_over_readers(group, self._means)
        # groups differ in scale for no reason that matters, so each is normalized to mean 1
        return None if activity is None else activity[0] / activity.mean().clamp(min=1e-30)

    def _measure(self, reader: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].abs()
        axis = 1 if isinstance(reader, _ConvNd) else values.ndim - 1
        mean = values.mean(dim=[i for i in range(values.ndim) if i != axis])
        self._rows.setdefault(reader, []).append(mean)


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


def _readers(module: nn.Module) -> list[_ConvNd | nn.Linear]:
    """Returns the layers that mix channels; a depthwise convolution only passes them on."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and layer.groups == 1)
    ]


def _change_by_input_channel(reader: _ConvNd | nn.Linear) -> Tensor:
    """Returns weight x gradient summed per input channel; zeros for a layer that did not run."""
    weight = reader.weight.detach()
    change = torch.zeros_like(weight) if reader.weight.grad is None else weight * reader.weight.grad
    axis = 0 if isinstance(reader, _ConvTransposeNd) else 1
    return change.sum(dim=[i for i in range(change.ndim) if i != axis])


def _sum_over_readers(group: Any, rows: Mapping[nn.Module, Tensor]) -> Tensor | None:  # noqa: ANN401
    """Adds up what is known about the channels of a group's root, over all layers that read them.

    Args:
        group: Group of `torch_pruning`.
        rows: Per reading layer, observations x its input channels.

    Returns:
        Observations x channels of the root; None if no layer reads them.
    """
    total = None
    for item in group:
        layer = item.dep.target.module
        if item.dep.handler in READING and layer in rows:
            read = rows[layer][:, item.idxs]
            if total is None:
                total = torch.zeros(len(read), len(group[0].idxs), dtype=read.dtype)
            total.index_add_(1, torch.tensor(item.root_idxs), read)
    return total
