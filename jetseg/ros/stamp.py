"""When and where a picture was taken, as its sender says."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1_000_000_000
"""In nanoseconds."""


@dataclass(frozen=True)
class Stamp:
    """What a message says of itself.

    Attributes:
        nanoseconds: Of the sender's clock, since 1970 or since its start; 0 if it was not set.
        frame_id: Coordinate frame of the camera, as in "camera_optical_frame".
    """

    nanoseconds: int
    frame_id: str
