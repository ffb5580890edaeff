"""Compression of a trained network: structured and unstructured pruning."""

from jetseg.errors import MissingDependencyError

try:
    import torch_pruning  # noqa: F401 - the one place that says plainly what is missing
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch_pruning", "train", "prunes networks") from error
