"""Video files, on a disk or a web server: every frame, at the pace of whoever reads."""

from __future__ import annotations

import logging
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from jetseg.camera.contract import Source, SourceFrame
from jetseg.camera.sources.opencv import DECODER, nominal_rate, open_capture
from jetseg.errors import DataError
from jetseg.preprocess import FrameU8

_LOG = logging.getLogger(__name__)


def open_video(place: Path | str) -> VideoFileSource:
    """Opens a video file, or the URL of one.

    Raises:
        DataError: It is not a video, or none of its frames can be decoded.
    """
    capture = open_capture(str(place), DECODER)
    good, first = capture.read() if capture.isOpened() else (False, None)
    # FFmpeg plays any .txt file as terminal art
    is_text = capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"ansi")
    if not good or first is None or is_text:
        capture.release()
        raise DataError(
            f"{place} is not a video that OpenCV {cv2.__version__} can decode: it is damaged, truncated or of "
            "another format.",
            "Copy it again, or convert it, for instance to H.264 in MP4.",
        )
    return VideoFileSource(capture, str(place), np.asarray(first, dtype=np.uint8))


class VideoFileSource(Source):
    """Frames of a video file; see `jetseg.camera.contract.Source`.

    Args:
        capture: Opened and known to deliver.
        name: Of the file.
        first: The first frame, which was read already.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str, first: FrameU8) -> None:
        self.name = name
        self.frames_per_second = nominal_rate(capture)
        self.size_hw = (first.shape[0], first.shape[1])
        self._frame_count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._capture = capture
        self._first: FrameU8 | None = first
        self._sequence = 0

    def read(self) -> SourceFrame | None:
        """Decodes the next frame; None at the end, which is said if it comes too early."""
        started = perf_counter()
        image, self._first = self._first, None
        if image is None:
            good, decoded = self._capture.read()
            if not good:
                self._check_end()
                return None
            image = np.asarray(decoded, dtype=np.uint8)
        if image.ndim == 2:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
        sequence = self._sequence
        self._sequence += 1
        return SourceFrame(sequence, f"{sequence:06d}", started, image)

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._capture.release()

    def _check_end(self) -> None:
        if self._sequence < self._frame_count:
            _LOG.warning(
                "%s promises %d frames, and %d could be decoded: it may be truncated.",
                self.name,
                self._frame_count,
                self._sequence,
            )
