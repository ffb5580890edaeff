"""Pictures of a recording of ROS 2."""

from __future__ import annotations

from time import perf_counter

from jetseg.camera.contract import Source, SourceContext, SourceFrame
from jetseg.camera.sources.paced import PacedSource
from jetseg.camera.sources.sender_clock import plausible_age
from jetseg.errors import ConfigError, JetsegError
from jetseg.monitor.events import EventLog
from jetseg.monitor.statistics import SourceLosses
from jetseg.ros.images import Picture, read_picture
from jetseg.ros.recording import Stored, open_recording, picture_topic, split_place
from jetseg.ros.stamp import SECOND

_LIVE = "?pace=stamps"


class RecordedSource(Source):
    """Every picture of a topic of an MCAP file, or of rosbag2; see `jetseg.camera.contract.Source`.

    Messages that are no picture are skipped, counted and named by `frame-corrupt`; a recording that was cut ends
    where it was cut, which `recording-damaged` tells.

    Args:
        place: FILE:/topic, or FILE alone where only one topic has pictures.
        context: Where to report.

    Raises:
        ConfigError: It names no file.
        DataError: The file is missing or no recording, or there is no such topic.
    """

    form = "mcap:FILE:/topic"

    @staticmethod
    def open(place: str, context: SourceContext) -> Source:
        """Opens a recording as a file; with `?pace=stamps` at its end as a camera, at the pace of the recording."""
        file, question, option = place.partition("?")
        if question and f"?{option}" != _LIVE:
            raise ConfigError(f"A recording knows no {option!r}.", f"Write {RecordedSource.form}{_LIVE}, or without.")
        source = RecordedSource(file, context)
        return PacedSource(source, None) if question else source

    def __init__(self, place: str, context: SourceContext) -> None:
        path, topic = split_place(place, self.form)
        self._events: EventLog = context.events
        self._window = context.window
        self._recording = open_recording(path)
        try:
            topic = picture_topic(self._recording, path, topic)
        except JetsegError:
            self._recording.close()
            raise
        self.name = f"mcap:{path}:{topic}"
        self.losses = SourceLosses()
        self._messages = self._recording.messages([topic])
        self._sequence = 0
        self._first_ns: int | None = None
        self._shown_at = 0.0
        self._is_damage_told = False

    def read(self) -> SourceFrame | None:
        """Decodes the next picture; None at the end."""
        started = perf_counter()
        for stored in self._messages:
            if (picture := self._picture(stored)) is not None:
                sequence, self._sequence = self._sequence, self._sequence + 1
                return SourceFrame(
                    sequence,
                    f"{sequence:06d}",
                    started,
                    picture.image_hwc_u8,
                    shown_at=self._moment(stored),
                    stamp=picture.stamp,
                    lag_s=_lag(stored, picture),
                )
        if self._recording.damage and not self._is_damage_told:
            self._is_damage_told = True
            text = f"{self._recording.damage}; all else was read."
            self._events.add("recording-damaged", "warning", text)
        return None

    def close(self) -> None:
        """Closes the recording; may be called twice."""
        self._recording.close()

    def _picture(self, stored: Stored) -> Picture | None:
        try:
            return read_picture(stored.content, stored.message_type, self._window)
        except JetsegError as error:
            self.losses.corrupt += 1
            if self.losses.corrupt & (self.losses.corrupt - 1) == 0:  # the first, the second, the fourth ...
                text = f"{self.losses.corrupt} message(s) of {self.name} were no picture, and were skipped: "
                self._events.add("frame-corrupt", "warning", text + error.found, count=self.losses.corrupt)
            return None

    def _moment(self, stored: Stored) -> float:
        """Returns when a picture is shown, in seconds since the first one; never earlier than the one before."""
        self._first_ns = stored.logged_ns if self._first_ns is None else self._first_ns
        self._shown_at = max(self._shown_at, (stored.logged_ns - self._first_ns) / SECOND)
        return self._shown_at


def _lag(stored: Stored, picture: Picture) -> float | None:
    """Returns how long before it was recorded a picture was captured; None if stamps do not tell."""
    lag = (stored.logged_ns - picture.stamp.nanoseconds) / SECOND
    return max(lag, 0.0) if picture.stamp.nanoseconds and plausible_age(lag) else None
