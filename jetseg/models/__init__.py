"""Networks: a registry, one file per network, and surgery that fits a module to pruned weights."""

from jetseg.errors import MissingDependencyError

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch", "train", "builds networks") from error

from jetseg.models.registry import create_model, model_names
from jetseg.models.shapes import fit_shapes_

__all__ = ["create_model", "fit_shapes_", "model_names"]
