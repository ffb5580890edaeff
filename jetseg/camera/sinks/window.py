"""The overlay in a window."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, closing

import cv2

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.stopping import StopFlag
from jetseg.errors import DeviceError

_ESCAPE_KEY = 27


class WindowSink:
    """Shows the overlay in a window; q, Escape or closing the window ends the run.

    Args:
        title: Of the window.
        stop: Set when the user wants to end.

    Raises:
        DeviceError: This OpenCV has no window system, or there is no display.
    """

    form = "window"
    wants_overlay = True

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a window, with the place as its title; see `jetseg.camera.contract.SinkKind`."""
        return closing(WindowSink(place or "jetseg", context.stop))

    def __init__(self, title: str, stop: StopFlag) -> None:
        # asked first: OpenCV's Qt build ends the whole process if there is no display
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError(
                "A window needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set.",
                "Run it in a desktop session, or record with `output` instead.",
            )
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise DeviceError(
                "A window needs an OpenCV with a window system, and this one was built without.",
                "Replace opencv-python-headless by opencv-python, or record with `output` instead.",
            ) from error
        self._title = title
        self._stop = stop

    def write(self, result: FrameResult) -> None:
        """Shows one frame."""
        if result.overlay_hwc_u8 is not None:
            cv2.imshow(self._title, result.overlay_hwc_u8)
        key = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        if closed or key in (_ESCAPE_KEY, ord("q")):
            self._stop.requested = True

    def close(self) -> None:
        """Closes the window."""
        cv2.destroyAllWindows()
