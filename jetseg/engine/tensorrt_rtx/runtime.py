"""TensorRT-RTX engines are for NVIDIA's own runtime: this backend only builds them."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from jetseg.errors import DeviceError
from jetseg.manifest import Manifest


def open_runner(path: Path, manifest: Manifest, *, threads: int | None = None) -> NoReturn:
    """Refuses to open an engine; see `jetseg.engine.opening.open_runner`.

    Raises:
        DeviceError: Always.
    """
    del threads
    raise DeviceError(
        f"{path} is a TensorRT-RTX engine ({manifest.device or 'target unknown'}), and jetseg does not run these.",
        "Run it with TensorRT-RTX's own runtime on such a GPU; for its accuracy, "
        "`jetseg eval MODEL.onnx --simulate tensorrt --calibration RANGES` computes the same integers here.",
    )
