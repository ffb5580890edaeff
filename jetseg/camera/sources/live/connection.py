"""One open connection to a camera: what a live source needs of it, and how it is opened within a time limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Protocol

from jetseg.errors import DeviceError
from jetseg.preprocess import FrameU8


@dataclass(frozen=True)
class Grab:
    """What one reading of a connection gave.

    Attributes:
        image_hwc_u8: height x width x 3, BGR; None if the frame is corrupt.
        captured_at: `perf_counter` seconds, before it was decoded.
        missing: Frames lost just before this one, as far as the stream tells.
        dated_by_capture: `captured_at` is the camera's own time on this machine's clock, and not that of arrival.
        sent_ns: When it was captured by the sender's clock, in nanoseconds since 1970, where it tells.
    """

    image_hwc_u8: FrameU8 | None
    captured_at: float
    missing: int = 0
    dated_by_capture: bool = False
    sent_ns: int | None = None


class Connection(Protocol):
    """One open connection to a camera, used by one thread."""

    frames_per_second: float | None
    size_hw: tuple[int, int] | None

    @property
    def has_end(self) -> bool:
        """It tells its length, as a file on a web server does."""
        ...

    def read(self) -> Grab | None:
        """Waits for the next frame; None if there are no more."""
        ...

    def close(self) -> None:
        """Frees the device."""
        ...


Connect = Callable[[], Connection]


def connect_within(seconds: float, connect: Connect, name: str) -> Connection:
    """Opens a connection in a thread, which is left behind if that takes too long.

    Raises:
        DeviceError: It fails, or takes longer than `seconds`.
    """
    results: list[Connection | Exception] = []
    given_up = False
    deciding = Lock()

    def work() -> None:
        result: Connection | Exception
        try:
            result = connect()
        except Exception as error:  # raised again below
            result = error
        with deciding:
            if not given_up:
                results.append(result)
                return
        if not isinstance(result, Exception):
            result.close()

    thread = Thread(target=work, name="jetseg-connect", daemon=True)
    thread.start()
    thread.join(seconds)
    with deciding:
        given_up = not results
    if given_up:
        raise DeviceError(
            f"{name} did not answer within {seconds:.0f} seconds.",
            "Check that the camera is on, and that no other program holds it.",
        )
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]
