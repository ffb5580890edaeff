"""The running mean of a network's weights, which scores better than the weights of the last step."""

from __future__ import annotations

import copy

import torch
from torch import nn


class RunningMean:
    """Keeps an exponential moving average of weights and batch norm statistics.

    Early on, decay is (1 + step) / (10 + step) at most, so that a run of a few hundred steps does not keep
    its fresh weights in the mean.

    Args:
        module: The network that is trained; a copy of it becomes `self.module`, in eval mode.
        decay: Decay per step once the run is long; 0 makes the mean equal to the weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._decay = decay
        pairs = list(zip(self.module.state_dict().values(), module.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights as they are after step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        means, weights = zip(*self._floats, strict=True)
        torch._foreach_lerp_(list(means), list(weights), 1.0 - decay)
        for mean, value in self._others:
            mean.copy_(value)
