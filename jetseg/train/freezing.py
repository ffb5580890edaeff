"""Parts of a network that are left as they are while the rest is trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from torch import nn

from jetseg.errors import ConfigError


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
            raise ConfigError(f"freeze: no part of the network is named {pattern!r}.", f"Its parts are {names}.")
        parts += fitting
    for part in parts:
        part.requires_grad_(False)
    return parts
