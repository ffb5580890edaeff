"""Video files, on a disk or a web server: every frame, at the pace of whoever reads."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from jetseg.address import SourceAddress
from jetseg.camera.contract import Source, SourceFrame
from jetseg.data.video_reader import VideoReader, not_a_video
from jetseg.input_spec import FrameWindow


def open_video(
    place: Path | SourceAddress, window: FrameWindow | None = None, *, playlists: bool = False
) -> VideoFileSource:
    """Opens a video file, or the URL of one.

    Args:
        place: The file, or its address.
        window: Which values of gray frames of more than 8 bits become 0 to 255.
        playlists: Whether the URL may be that of a playlist.

    Raises:
        DataError: It is not a video, or none of its frames can be decoded, or they need a window.
        MissingDependencyError: PyAV is not installed.
    """
    reader = VideoReader(place, window, playlists=playlists)
    try:
        return VideoFileSource(reader)
    except BaseException:
        reader.close()
        raise


class VideoFileSource(Source):
    """Frames of a video file; see `jetseg.camera.contract.Source`.

    Args:
        reader: At the beginning of the file; the source closes it.

    Raises:
        DataError: None of its frames can be decoded.
    """

    def __init__(self, reader: VideoReader) -> None:
        self.name = reader.name
        self.frames_per_second = reader.frames_per_second
        self._reader = reader
        self._frames = reader.frames()
        self._first = next(self._frames, None)
        if self._first is None:
            raise not_a_video(reader.name)
        height, width = self._first.image_hwc_u8.shape[:2]
        self.size_hw = (height, width)
        self._sequence = 0

    def read(self) -> SourceFrame | None:
        """Decodes the next frame; None at the end, which is said if it comes too early."""
        started = perf_counter()
        frame, self._first = self._first or next(self._frames, None), None
        if frame is None:
            return None
        sequence = self._sequence
        self._sequence += 1
        return SourceFrame(
            sequence,
            f"{sequence:06d}",
            started,
            frame.image_hwc_u8,
            shown_at=frame.shown_at,
            shown_for=frame.shown_for,
        )

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._frames.close()
        self._reader.close()
