"""Processed frames for tests of outputs."""

import cv2
import numpy as np
from camera_fakes import ANY_SPEED

from jetseg.camera.contract import FrameResult, SourceFrame
from jetseg.monitor.statistics import LoopStatistics


def result(index, height=48, width=64, captured_at=None, statistics=None):
    """A frame of noise whose class map is its first channel."""
    picture = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    captured_at = index / 25 if captured_at is None else captured_at
    frame = SourceFrame(index, str(index), captured_at, picture)
    ids = np.ascontiguousarray(picture[..., 0])
    return FrameResult(frame, ids, captured_at + 0.01, picture, statistics or LoopStatistics(ANY_SPEED))


def frames_in(path):
    """Counts the frames of a video that can be decoded."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count
