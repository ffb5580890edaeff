"""Video files as cameras and tools make them, frame by frame at given times."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLOCK = 90_000
SIZE = 32, 48


def picture(number: int) -> np.ndarray:
    """Makes a frame whose brightness tells its number, 0 to 20."""
    return np.full((*SIZE, 3), 20 + 10 * number, np.uint8)


def number_of(image_hwc_u8: np.ndarray) -> int:
    """Reads the number of a frame."""
    return round((float(image_hwc_u8.mean()) - 20) / 10)


def write_timed(
    path: Path,
    moments: Sequence[float],
    *,
    shown_for: float = 0.04,
    first: int = 0,
    codec: str = "libx264",
    starts_at: float = 0.0,
    between: int = 2,
) -> None:
    """Writes a video whose frames are shown at these moments, in seconds; the last one for `shown_for`.

    `between` is the number of frames that need later ones to be decoded.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=25, options={"g": "5", "bf": str(between)} if codec == "libx264" else {}
        )
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, CLOCK)
        packets = []
        for number, moment in enumerate(moments):
            frame = av.VideoFrame.from_ndarray(picture(first + number), format="bgr24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = round((starts_at + moment) * CLOCK), Fraction(1, CLOCK)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        ends = [*moments[1:], moments[-1] + shown_for]
        for packet in packets:
            index = min(range(len(moments)), key=lambda at: abs((starts_at + moments[at]) * CLOCK - packet.pts))
            packet.duration = round((ends[index] - moments[index]) * CLOCK)
            container.mux(packet)
