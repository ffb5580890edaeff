"""Export of a torch network to ONNX, and proof that both compute the same."""

from jetseg.errors import MissingDependencyError

try:
    import torch  # noqa: F401 - the one place that says plainly what is missing
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch", "train", "exports networks") from error
