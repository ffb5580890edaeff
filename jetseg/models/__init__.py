"""Networks: a registry, one file per network, and surgery that fits a module to pruned weights."""

from jetseg.errors import MissingDependencyError

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch", "train", "builds networks") from error

from jetseg.models.outputs import adapt_outputs_, find_heads, find_outputs, outputs_apart
from jetseg.models.registry import create_model, is_foreign, model_names, restore_model, takes_option
from jetseg.models.shapes import fit_shapes_

__all__ = [
    "adapt_outputs_",
    "create_model",
    "find_heads",
    "find_outputs",
    "fit_shapes_",
    "is_foreign",
    "model_names",
    "outputs_apart",
    "restore_model",
    "takes_option",
]
