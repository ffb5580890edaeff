"""Reads video files frame by frame: every frame that decodes, upright, at its time.

What a container says of its length is not believed: it counts frames that were cut away, estimates, or says nothing.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jetseg.address import SourceAddress
from jetseg.data.image_header import MOST_PIXELS
from jetseg.data.video_formats import file_options, network_options
from jetseg.errors import DataError, import_optional
from jetseg.input_spec import FrameWindow
from jetseg.preprocess import FrameU8, window_frame

_LOG = logging.getLogger(__name__)

USUAL_FRAMES_PER_SECOND = 25.0
"""Of files that do not tell their own rate."""
_TIMEOUT_SECONDS = 5.0
_LONGEST_GAP_SECONDS = 10.0
"""In a transport stream, whose clock may jump where two were joined; FFmpeg's own bound (-dts_delta_threshold)."""
_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video.

    Attributes:
        image_hwc_u8: height x width x 3, BGR, upright.
        shown_at: Seconds since the first frame; they only grow.
        shown_for: Seconds that it is shown, where the file tells.
    """

    image_hwc_u8: FrameU8
    shown_at: float
    shown_for: float | None


class VideoReader:
    """Decodes a video file, from its beginning or from a key frame on.

    Args:
        place: The file, or the address of one.
        window: Which values of gray frames of more than 8 bits become 0 to 255.
        playlists: Whether the URL may be that of a playlist, which names other addresses.

    Raises:
        DataError: It is not a video, or its frames are too large.
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(
        self, place: Path | SourceAddress, window: FrameWindow | None = None, *, playlists: bool = False
    ) -> None:
        self._av = import_optional("av", "av", "record", "reads video files")
        self.name = str(place)
        self._window = window
        address = place if isinstance(place, SourceAddress) else None
        self._file = None if isinstance(place, SourceAddress) else _opened(place)
        try:
            self._container = self._av.open(
                self._file or (address and address.reveal()),
                options=network_options(playlists=playlists) if address else file_options(),
                timeout=_TIMEOUT_SECONDS if address else None,
                buffer_size=_BUFFER_BYTES,
                metadata_errors="ignore",
            )
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            self._close_file()
            raise not_a_video(self.name) from (None if address else error)  # FFmpeg's text holds the whole address
        self._stream: Any = next(iter(self._container.streams.video), None)
        if self._stream is None or self._stream.codec_context is None:
            self.close()
            raise not_a_video(self.name)
        width, height = self._stream.codec_context.width, self._stream.codec_context.height
        if width * height > MOST_PIXELS:
            self.close()
            raise DataError(
                f"{self.name} has frames of {width}x{height} pixels, more than {MOST_PIXELS // 1_000_000} million.",
                "Make it smaller.",
            )
        # more of them would take the engine's cores, and make something else of damaged frames each time
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        self.frames_per_second = _nominal_rate(self._stream)
        self._packets = 0

    def decoded(self) -> Iterator[Any]:
        """Yields PyAV's frames in the order in which they are shown; what does not decode is left out."""
        failed, end = 0, None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (self._av.error.FFmpegError, OSError, ValueError) as error:
                end = error
                break
            self._packets += packet.size > 0
            try:
                yield from packet.decode()
            except (self._av.error.FFmpegError, OSError, ValueError):
                failed += 1
        self._tell_losses(failed, end)

    def frames(self) -> Generator[VideoFrame, None, None]:
        """Yields all frames from the beginning."""
        timeline = Timeline(self)
        for frame in self.decoded():
            yield VideoFrame(self.image(frame), *timeline.place(frame))

    def image(self, frame: Any) -> FrameU8:  # noqa: ANN401 - PyAV is optional
        """Turns a frame of `decoded` into pixels.

        Returns:
            uint8, H x W x 3, BGR, upright.

        Raises:
            DataError: It has more than 8 bits, and no window says which of them count.
        """
        pixel_format = frame.format
        deep = pixel_format.components[0].bits > 8
        is_yuv = not (pixel_format.name.startswith(("gray", "ya")) or pixel_format.is_rgb or pixel_format.is_bayer)
        if deep and not is_yuv:
            image = window_frame(self._deep_values(frame), self._window, f"{self.name} ({pixel_format.name})")
        else:
            image = np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def seek(self, pts: int) -> bool:
        """Has `decoded` begin at the key frame of this time stamp, or one before it; False: the file cannot do that."""
        try:
            self._container.seek(pts, stream=self._stream, backward=True)
        except (self._av.error.FFmpegError, OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._container.close()
        self._close_file()

    @property
    def time_base(self) -> Fraction:
        """Seconds of a tick of the file's time stamps."""
        return self._stream.time_base or Fraction(1, round(USUAL_FRAMES_PER_SECOND))

    @property
    def may_jump(self) -> bool:
        """The container's clock may jump, as in a transport stream."""
        return bool(int(self._container.format.flags) & int(self._av.format.Flags.ts_discont.value))

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()

    def _deep_values(self, frame: Any) -> Any:  # noqa: ANN401 - PyAV is optional
        name = frame.format.name
        try:
            return frame.to_ndarray() if name.startswith("gray") else frame.to_ndarray(format="bgr48le")
        except ValueError as error:
            raise DataError(
                f"{self.name} holds frames of the pixel format {name}, which are not read.",
                "Convert it to gray16le or rgb48le, losslessly, as with FFmpeg's codec ffv1.",
            ) from error

    def _tell_losses(self, failed: int, end: Exception | None) -> None:
        if failed:
            _LOG.warning("%s: %d packets could not be decoded, and their frames are left out.", self.name, failed)
        if end is not None or self._packets < self._stream.frames:
            promised = f"promises {self._stream.frames} frames, and" if self._stream.frames else "is damaged:"
            _LOG.warning("%s %s %d could be read: it may be truncated.", self.name, promised, self._packets)


class Timeline:
    """When frames are shown, from the time stamps of a file: they only grow.

    A stamp that goes back, as where two files were joined, or that is missing, follows its forerunner's.

    Args:
        reader: The file, at its beginning.
    """

    def __init__(self, reader: VideoReader) -> None:
        self._time_base, self._may_jump = reader.time_base, reader.may_jump
        self._period = 1 / (reader.frames_per_second or USUAL_FRAMES_PER_SECOND)
        self._stamp: float | None = None
        self._shown_at = -self._period
        self._shown_for: float | None = None

    def place(self, frame: Any) -> tuple[float, float | None]:  # noqa: ANN401 - PyAV is optional
        """Returns when the next frame is shown and for how long, as in `VideoFrame`."""
        stamp = None if frame.pts is None else float(frame.pts * self._time_base)
        step = 0.0 if stamp is None or self._stamp is None else stamp - self._stamp
        if step <= 0 or (self._may_jump and step > _LONGEST_GAP_SECONDS):
            step = self._shown_for or self._period
        first = self._shown_at < 0
        self._shown_at = 0.0 if first else self._shown_at + step
        self._stamp = stamp
        self._shown_for = float(frame.duration * self._time_base) if frame.duration else None
        return self._shown_at, self._shown_for


def not_a_video(name: str) -> DataError:
    """Returns the error for a file of which no frame can be had."""
    return DataError(
        f"{name} is not a video that FFmpeg can decode: it is damaged, truncated or of another format.",
        "Copy it again, or convert it, for instance to H.264 in MP4. A playlist is opened only as `playlist:URL`.",
    )


class _File(io.FileIO):
    """A file that lives as long as its reader: a dataset that is not needed any more is just forgotten."""

    def __del__(self) -> None:
        self.close()


def _opened(place: Path) -> _File:
    """Opens a file for FFmpeg, which then needs to open none."""
    try:
        return _File(place)
    except OSError as error:
        raise not_a_video(str(place)) from error


def _nominal_rate(stream: Any) -> float | None:  # noqa: ANN401 - PyAV is optional
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and 0 < rate < 1000 else None
