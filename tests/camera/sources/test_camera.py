import cv2
import numpy as np
import pytest

from jetseg.camera.sources.camera import connect_camera
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow

Y16 = cv2.VideoWriter.fourcc(*"Y16 ")
VALUES = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48)


class ThermalCamera:
    """As OpenCV gives a V4L2 camera: the upper 8 bits as color, unless it is told not to convert."""

    def __init__(self, formats):
        self.formats = formats
        self.fourcc = formats[0]
        self.converts = True

    def __call__(self, index, backend):
        return self

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def set(self, key, value):
        if key == cv2.CAP_PROP_FOURCC and value in self.formats:
            self.fourcc = value
        if key == cv2.CAP_PROP_CONVERT_RGB:
            self.converts = bool(value)

    def get(self, key):
        return float(self.fourcc) if key == cv2.CAP_PROP_FOURCC else 0.0

    def grab(self):
        return True

    def retrieve(self):
        if self.fourcc == Y16 and not self.converts:
            return True, VALUES
        return True, np.dstack([(VALUES >> 8).astype(np.uint8)] * 3)

    def release(self):
        pass


@pytest.mark.parametrize("formats", [[Y16], [cv2.VideoWriter.fourcc(*"YUYV"), Y16]])
def test_camera_of_16_bits_is_windowed(monkeypatch, formats):
    monkeypatch.setattr(cv2, "VideoCapture", ThermalCamera(formats))
    grab = connect_camera(0, FrameWindow(low=100, high=1124)).read()
    expected = np.rint((np.clip(VALUES, 100.0, 1124.0) - 100) * 255 / 1024)
    assert np.array_equal(grab.image_hwc_u8, np.dstack([expected] * 3))


def test_camera_of_16_bits_without_a_window_is_refused(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", ThermalCamera([Y16]))
    with pytest.raises(DataError, match=r"Camera 0 gives gray frames of more than 8 bits.*`frames: {low: 0"):
        connect_camera(0)
