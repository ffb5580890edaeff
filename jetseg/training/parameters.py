"""What happens to a network's weights beside the optimizer's steps: some are frozen, zeros stay, a mean is kept."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

import torch
from torch import nn

from jetseg.errors import ConfigError
from jetseg.models.copying import copied


def freeze_(network: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Turns off the gradients of parts of a network.

    Args:
        network: Changed in place.
        patterns: Patterns of module names, as in "encoder.stem" or "encoder.stages.[01]".

    Returns:
        The parts; keep them in eval mode, so that their batch norm stays as it is too.

    Raises:
        ConfigError: A pattern fits no part.
    """
    parts = []
    for pattern in patterns:
        fitting = [module for name, module in network.named_modules() if name and fnmatch(name, pattern)]
        if not fitting:
            names = ", ".join(name for name, _ in network.named_children())
            raise ConfigError(f"`freeze`: no part of the network is named {pattern!r}.", f"Its parts are {names}.")
        parts += fitting
    for part in parts:
        part.requires_grad_(False)
    return parts


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


class RunningMean:
    """Keeps an exponential moving average of weights and batch norm statistics.

    Early on, decay is (1 + step) / (10 + step) at most, so that a run of a few hundred steps does not keep
    its fresh weights in the mean.

    Args:
        module: The network that is trained; a copy of it becomes `self.module`, in eval mode.
        decay: Decay per step once the run is long; 0 makes the mean equal to the weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copied(module).eval().requires_grad_(False)
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
