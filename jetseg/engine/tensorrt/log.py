"""Keeps what TensorRT says, so that a failure can be explained."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def make_log(trt: ModuleType) -> Any:  # noqa: ANN401 - a class of the library that is passed in
    """Makes a logger for `trt` whose `errors` lists the messages of errors so far.

    Args:
        trt: TensorRT, or a library with the same interface.
    """

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()
