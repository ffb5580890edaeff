"""When and where a processed frame was taken, for messages that tell it on."""

from __future__ import annotations

import time
from time import perf_counter

from jetseg.camera.contract import SourceFrame
from jetseg.ros.stamp import SECOND, Stamp


def stamp_of(frame: SourceFrame, frame_id: str) -> Stamp:
    """Returns what the message said that brought a frame; else when it was captured, by this machine's clock.

    Args:
        frame: The frame.
        frame_id: Coordinate frame of cameras that do not tell theirs.
    """
    if frame.stamp is not None:
        return frame.stamp
    return Stamp(time.time_ns() - round((perf_counter() - frame.captured_at) * SECOND), frame_id)
