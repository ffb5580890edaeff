"""Keeps what TensorRT timed on this device, so that the next build is faster."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from jetseg.engine.tensorrt.gpu import GpuFacts
from jetseg.errors import StorageError
from jetseg.storage import write_bytes

_LOG = logging.getLogger(__name__)


def timing_cache_path(facts: GpuFacts, version: str) -> Path:
    """Returns the place of a device's timings: in the user's cache folder, by GPU and TensorRT version."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{facts.label}-{version}").strip("-")
    return folder / "jetseg" / "tensorrt" / f"{name}.timing"


def use_timing_cache_(settings: Any, path: Path) -> None:  # noqa: ANN401
    """Gives earlier timings to a builder's settings; those that TensorRT does not take are dropped."""
    content = path.read_bytes() if path.is_file() else b""
    cache = settings.create_timing_cache(content)
    if cache is None or not settings.set_timing_cache(cache, ignore_mismatch=False):
        settings.set_timing_cache(settings.create_timing_cache(b""), ignore_mismatch=False)


def save_timing_cache(settings: Any, path: Path) -> None:  # noqa: ANN401
    """Keeps the timings of a build; a full disk is only told, for the engine is there."""
    cache = settings.get_timing_cache()
    try:
        if cache is not None:
            write_bytes(path, bytes(cache.serialize()))
    except StorageError as error:
        _LOG.warning("The next build will not be faster: %s", error)
