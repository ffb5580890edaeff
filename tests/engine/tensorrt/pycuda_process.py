"""A process with pycuda itself over `host_driver.c`, and a double of TensorRT alone: runs commands of jetseg.

Reads a list of steps from standard input, [call that fails (0: none), words of the command], and writes for each one
line of JSON: exit code, errors printed, calls of the driver made and refused, misuses, and what stayed live.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tensorrt_double import Double

from jetseg.cli.main import main
from jetseg.monitor import engine_speed

WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class DoubleOverPycuda(Double):
    """The double of TensorRT, over the memory and the streams of the host's driver."""

    def __init__(self, driver: ctypes.CDLL) -> None:
        super().__init__()
        self._driver, self._queued = driver, []

    def array_at(self, address: int, dtype: np.dtype, shape: list[int]) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)

    def launch(self, stream_handle: int, work: Callable[[], None]) -> None:
        def once(_argument: Any) -> None:
            self._queued.remove(kept)
            work()

        kept = WORK(once)
        self._queued.append(kept)
        assert self._driver.host_driver_launch(ctypes.c_void_p(stream_handle), kept, None) == 0


def run(driver: ctypes.CDLL, failing: int, words: list[str]) -> dict[str, Any]:
    """Runs one command, with one call of the driver failing."""
    driver.host_driver_fail(ctypes.c_long(failing))
    sys.argv = ["jetseg", *words]
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    gc.collect()
    live = (ctypes.c_long * 3)()
    driver.host_driver_live(live)
    return {
        "code": code,
        "printed": printed.getvalue(),
        "errors": errors.getvalue(),
        "calls": driver.host_driver_calls(),
        "refused": driver.host_driver_refused().decode(),
        "misuses": [driver.host_driver_misuses(), driver.host_driver_misuse().decode()],
        "live": list(live),
    }


def open_driver() -> ctypes.CDLL:
    """Opens the host's driver, and puts the double in TensorRT's place."""
    driver = ctypes.CDLL("libcuda.so.1")
    driver.host_driver_calls.restype = driver.host_driver_misuses.restype = ctypes.c_long
    driver.host_driver_refused.restype = driver.host_driver_misuse.restype = ctypes.c_char_p
    sys.modules["tensorrt"] = DoubleOverPycuda(driver).trt
    return driver


if __name__ == "__main__":
    engine_speed._MOST_SECONDS = 0  # one run: the calls of a command are the same each time
    host_driver = open_driver()
    for step in json.load(sys.stdin):
        sys.stdout.write(json.dumps(run(host_driver, *step)) + "\n")
        sys.stdout.flush()
