"""The overlay in a window."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, closing

import cv2

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.stopping import StopFlag
from jetseg.errors import DeviceError
from jetseg.preprocess import FrameU8

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
        self._window = Window(title)
        self._stop = stop

    def write(self, result: FrameResult) -> None:
        """Shows one frame."""
        if result.overlay_hwc_u8 is not None:
            self._window.show(result.overlay_hwc_u8)
        if self._window.closed:
            self._stop.requested = True

    def close(self) -> None:
        """Closes the window."""
        self._window.close()


class Window:
    """A window; the main thread owns it.

    Raises:
        DeviceError: This OpenCV has no window system, or there is no display.
    """

    def __init__(self, title: str) -> None:
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

    def show(self, picture: FrameU8) -> None:
        """Shows a picture."""
        cv2.imshow(self._title, picture)

    @property
    def closed(self) -> bool:
        """Lets the window work, and tells whether the user wants to end: q, Escape, or closing it."""
        key = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        return closed or key in (_ESCAPE_KEY, ord("q"))

    def close(self) -> None:
        """Closes it."""
        cv2.destroyAllWindows()


def open_window(title: str) -> closing[Window]:
    """Opens a window, which is closed at the end."""
    return closing(Window(title))
