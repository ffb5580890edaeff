"""Copies of networks."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from jetseg.errors import ArtifactError

_Network = TypeVar("_Network", bound=nn.Module)


def copied(module: _Network) -> _Network:
    """Returns a copy of a network that shares no weights with it.

    Raises:
        ArtifactError: It holds something that cannot be copied.
    """
    for layer in module.modules():  # old weight norm keeps its last product, which torch does not copy
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(layer, name, value.detach())
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever a foreign network holds
        raise ArtifactError(
            f"The network cannot be copied: {type(error).__name__}: {error}.",
            "Its modules may hold weights, modules and plain values; no open files, locks or generators.",
        ) from error
