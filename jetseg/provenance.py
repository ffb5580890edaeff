"""Which software and which device made an artifact or a figure."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

import jetseg


def toolchain(packages: Sequence[str] = ("torch", "onnx", "onnxruntime", "tensorrt", "numpy")) -> dict[str, str]:
    """Returns the versions of jetseg, Python and of those `packages` that are installed."""
    versions = {"jetseg": jetseg.__version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def device_name() -> str:
    """Returns the processor's name and architecture, as figures are quoted with it."""
    cpuinfo = Path("/proc/cpuinfo")
    name = ""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name or platform.processor() or 'unknown processor'} ({platform.machine()})"


def read_board() -> tuple[str, int]:
    """Returns the board's model name, empty where the machine has none, and its memory in bytes."""
    model = Path("/proc/device-tree/model")
    name = model.read_text(errors="replace").strip("\0 \n") if model.is_file() else ""
    return name, psutil.virtual_memory().total
