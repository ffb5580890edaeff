"""How much the loss of each task weighs: alike, by its uncertainty, or so that all learn at the same pace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_PACE = 1.5
"""GradNorm's alpha: how strongly a task that learns more slowly than the others is pulled forward."""
_STEP = 0.025
"""GradNorm's learning rate of the weights."""
_LEAST_WEIGHT = 0.05


class Balance(nn.Module):
    """Sums the losses, each times a fixed factor.

    Args:
        factors: One per task.
    """

    factors: Tensor

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor(list(factors), dtype=torch.float32), persistent=False)

    def forward(self, losses: Sequence[Tensor | None]) -> Tensor:
        """Returns the sum over the tasks that have a loss, one at least."""
        return torch.stack(
            [factor * loss for factor, loss in zip(self.factors, losses, strict=True) if loss is not None]
        ).sum()

    def weights(self) -> list[float]:
        """Returns how much each task weighs now."""
        return [float(factor) for factor in self.factors]


class UncertaintyBalance(Balance):
    """Learns how uncertain each task is, and weighs it by that (Kendall et al., arXiv:1705.07115).

    Each loss is divided by a variance, whose logarithm is learned and added, so that none grows without end.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__(factors)
        self.log_variances = nn.Parameter(torch.zeros(len(factors)))

    def forward(self, losses: Sequence[Tensor | None]) -> Tensor:
        """Returns the sum; see `Balance`."""
        each = [
            factor * (torch.exp(-log_variance) * loss + 0.5 * log_variance)
            for factor, log_variance, loss in zip(self.factors, self.log_variances, losses, strict=True)
            if loss is not None
        ]
        return torch.stack(each).sum()

    def weights(self) -> list[float]:
        """Returns how much each task weighs now."""
        return (self.factors * torch.exp(-self.log_variances.detach())).tolist()


class GradNorm(Balance):
    """Weighs losses so that their gradients at the last shared layer are of one size (Chen et al., arXiv:1711.02257).

    A task whose loss has fallen less than the others' gets a larger gradient. The weights sum to the number of tasks.

    Args:
        factors: One per task, beside the weights that are found.
        shared: Gives the weights of the last layer that all tasks share.
    """

    found: Tensor
    first: Tensor

    def __init__(self, factors: Sequence[float], shared: Callable[[], nn.Parameter]) -> None:
        super().__init__(factors)
        self._shared = shared
        self.register_buffer("found", torch.ones(len(factors)))
        self.register_buffer("first", torch.zeros(len(factors)))

    def forward(self, losses: Sequence[Tensor | None]) -> Tensor:
        """Returns the sum, and learns from a batch in which every task has a loss; see `Balance`."""
        complete = [factor * loss for factor, loss in zip(self.factors, losses, strict=True) if loss is not None]
        if self.training and torch.is_grad_enabled() and len(complete) == len(losses):
            self._learn(complete)
        weighted = [
            weight * factor * loss
            for weight, factor, loss in zip(self.found, self.factors, losses, strict=True)
            if loss is not None
        ]
        return torch.stack(weighted).sum()

    def weights(self) -> list[float]:
        """Returns how much each task weighs now."""
        return (self.factors * self.found).tolist()

    def _learn(self, losses: Sequence[Tensor]) -> None:
        layer = self._shared()
        norms = torch.stack([torch.autograd.grad(loss, layer, retain_graph=True)[0].detach().norm() for loss in losses])
        values = torch.stack([loss.detach() for loss in losses])
        if not (torch.isfinite(norms).all() and torch.isfinite(values).all()):
            return
        if not bool(self.first.any()):
            self.first.copy_(values.clamp(min=1e-6))
        pace = values / self.first
        pace = pace / pace.mean().clamp(min=1e-6)
        sizes = self.found * norms
        wanted = sizes.mean() * pace**_PACE
        # the slope of |size - wanted| by the weight, in units of the mean norm so that the step has no scale of its own
        slope = torch.sign(sizes - wanted) * norms / norms.mean().clamp(min=1e-12)
        changed = (self.found - _STEP * slope).clamp(min=_LEAST_WEIGHT)
        self.found.copy_(changed * len(losses) / changed.sum())


def last_shared_weight(module: nn.Module, losses: Sequence[Tensor]) -> str:
    """Returns the name of the last weight of a network that every loss depends on.

    Raises:
        ValueError: There is none.
    """
    names = [name for name, weight in module.named_parameters() if weight.requires_grad and weight.ndim > 1]
    weights = [module.get_parameter(name) for name in names]
    reached = [torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for loss in losses]
    shared = [name for name, *slopes in zip(names, *reached, strict=True) if all(slope is not None for slope in slopes)]
    if not shared:
        raise ValueError("the tasks share no weight")
    return str(shared[-1])
