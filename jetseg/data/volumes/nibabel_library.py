"""NiBabel, the only place where it is imported."""

from __future__ import annotations

from jetseg.errors import MissingDependencyError

try:
    import nibabel
    from nibabel import orientations
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("nibabel", "medical", "reads and writes volumes") from error

__all__ = ["nibabel", "orientations"]
