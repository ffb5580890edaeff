"""The one place that imports TensorRT."""

from __future__ import annotations

import importlib
from types import ModuleType

from jetseg.errors import MissingDependencyError

_SYSTEM_PACKAGE = (
    "It comes with JetPack, not from PyPI: make the environment with `python3 -m venv --system-site-packages`, and "
    "install the package python3-libnvinfer if `python3 -c 'import tensorrt'` fails outside of it. A workstation "
    "without it builds with `backend` onnxruntime or tensorrt_rtx."
)


def load_tensorrt() -> ModuleType:
    """Imports TensorRT.

    Raises:
        MissingDependencyError: It is not installed, or its libraries are not found.
    """
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "tensorrt", "tensorrt", "builds and runs engines on NVIDIA GPUs", fix=_SYSTEM_PACKAGE
        ) from error
