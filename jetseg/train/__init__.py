"""Training, distillation and checkpoints; needs torch."""

from jetseg.errors import MissingDependencyError

try:
    import torch  # noqa: F401 - the one place that says plainly what is missing
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch", "train", "builds and trains networks") from error
