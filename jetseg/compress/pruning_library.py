"""Imports torch_pruning, or says plainly what is missing."""

from jetseg.errors import MissingDependencyError

try:
    import torch_pruning
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch_pruning", "train", "prunes networks") from error

__all__ = ["torch_pruning"]
