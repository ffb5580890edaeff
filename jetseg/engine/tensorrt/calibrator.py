"""Implicit quantization: TensorRT 10 and older choose the scales themselves, from frames or from a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from jetseg.engine.tensorrt.gpu import Gpu
from jetseg.errors import ArtifactError
from jetseg.preprocess import NetworkInput

NextFrame = Callable[[], int | None]
"""Puts the next frame on the device and returns its address; None when there is none left."""


def has_calibrators(trt: ModuleType) -> bool:
    """Tells whether this version can calibrate by itself."""
    return hasattr(trt, "IInt8EntropyCalibrator2")


def make_calibrator(trt: ModuleType, *, cache: bytes | None = None, next_frame: NextFrame | None = None) -> Any:  # noqa: ANN401
    """Makes an entropy calibrator for `trt`.

    TensorRT takes an exception in a callback for the end of the data: it is kept as `error`, to be raised after the
    build. What TensorRT found is kept as `written`.

    Args:
        trt: A TensorRT that has calibrators.
        cache: A calibration cache to read in place of frames.
        next_frame: Where frames come from.
    """

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.error: Exception | None = None
            self.written: bytes | None = None

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Sequence[str]) -> list[int] | None:
            try:
                address = _next_address(names, next_frame)
            except Exception as error:  # whatever it is, it must not reach the library
                self.error = self.error or error
                return None
            return None if address is None else [address]

        def read_calibration_cache(self) -> bytes | None:
            return cache

        def write_calibration_cache(self, found: memoryview) -> None:
            self.written = bytes(found)

    return Calibrator()


@contextmanager
def frames_on_device(gpu: Gpu, frames: Iterator[NetworkInput], size_bytes: int) -> Iterator[NextFrame]:
    """Gives frames one after the other, all in the same device memory, which is freed at the end.

    Args:
        gpu: The GPU.
        frames: Preprocessed frames, batch 1.
        size_bytes: Size of one.
    """
    with gpu.active():
        memory = gpu.device_memory(size_bytes)

    def next_frame() -> int | None:
        frame = next(frames, None)
        if frame is None:
            return None
        with gpu.active():
            gpu.upload(memory, np.ascontiguousarray(frame))
        return int(memory)

    try:
        yield next_frame
    finally:
        with gpu.active():
            memory.free()


def _next_address(names: Sequence[str], next_frame: NextFrame | None) -> int | None:
    if next_frame is None:
        raise ArtifactError(
            "TensorRT did not take the calibration cache and asks for frames.",
            "Give them with `options` calibration_data=SPEC, or use explicit quantization, which needs none.",
        )
    if len(names) != 1:
        raise ArtifactError(
            f"The network has {len(names)} inputs: {', '.join(names)}; only one can be fed with frames.",
            "Make the others constants, and export again.",
        )
    return next_frame()
