"""Pictures of a topic of ROS 2."""

from __future__ import annotations

from threading import Condition
from time import perf_counter

from jetseg.camera.contract import DatedBy, Source, SourceContext, SourceFrame
from jetseg.camera.sources.sender_clock import SenderClock
from jetseg.errors import DeviceError, JetsegError
from jetseg.monitor.statistics import SourceLosses
from jetseg.ros.bus import Bus, Received, open_bus
from jetseg.ros.images import read_picture
from jetseg.ros.message_types import CLOCK, PICTURES
from jetseg.ros.names import parse_place

_PATIENCE_SECONDS = 0.1
_SECONDS_BETWEEN_CORRUPT_EVENTS = 1.0


class Ros2:
    """A topic of ROS 2; see `jetseg.camera.contract.SourceKind`."""

    form = "ros2:TOPIC"

    @staticmethod
    def open(place: str, context: SourceContext) -> Source:
        """Opens `/camera/image_raw`, or with settings of `jetseg.ros.names.RosSettings` after a question mark.

        Raises:
            ConfigError: It is written differently.
            DeviceError: Nobody publishes pictures there.
            MissingDependencyError: The library of the bus is not installed.
        """
        topic, settings = parse_place(place, Ros2.form)
        bus = open_bus(settings)
        try:
            source = TopicSource(bus, topic, context, sim_time=settings.sim_time)
            if not context.wait:
                source.await_first(context.limits.hung)
        except BaseException:
            bus.close()
            raise
        return source


class TopicSource(Source):
    """The newest picture of a topic; see `jetseg.camera.contract.Source`.

    A message is decoded when it is read, not when it comes: those that a newer one replaces cost nothing. Publishers
    may come and go, which is reported as `camera-stalled`, `camera-lost` and `camera-back`; messages that are no
    picture are counted, and named by `frame-corrupt`.

    Args:
        bus: The source closes it.
        topic: The whole name.
        context: Where to report, and how long a camera may take.
        sim_time: Time is what /clock says.
    """

    live = True

    def __init__(self, bus: Bus, topic: str, context: SourceContext, *, sim_time: bool = False) -> None:
        self.name = f"ros2:{topic}"
        self.losses = SourceLosses()
        self._bus, self._topic = bus, topic
        self._events, self._limits, self._window = context.events, context.limits, context.window
        self._changed = Condition()
        self._message: Received | None = None
        self._is_read = False
        self._received = self._corrupt = self._reported_corrupt = 0
        self._corrupt_event_at = 0.0
        self._heard_at = perf_counter()
        self._silence = ""
        self._reason = ""
        self._clock = SenderClock(self.name, context.events, simulated=sim_time)
        if sim_time:
            bus.subscribe("/clock", [CLOCK], lambda message: self._clock.tell(message.content))
        bus.subscribe(topic, PICTURES, self._receive)

    def await_first(self, seconds: float) -> None:
        """Waits until a picture has come.

        Raises:
            DeviceError: None came; the topics that there are, or what came instead, are named.
        """
        until = perf_counter() + seconds
        while perf_counter() < until:
            if (frame := self._next()) is not None:
                height, width = frame.image_hwc_u8.shape[:2]
                self.size_hw = (height, width)
                with self._changed:  # what comes before the run is not counted
                    self._received = self._corrupt = self._reported_corrupt = 0
                return
        topics = self._bus.topics()
        known = f"topics there: {', '.join(topics[:20])}" if topics else "nobody publishes anything there"
        raise DeviceError(
            f"{self.name} gave no picture within {seconds:.0f} seconds over {self._bus.name}; {self._reason or known}.",
            "Check the topic, the domain id and the transport, as in ros2:/camera/image_raw?domain=7&transport=zenoh.",
        )

    def read(self) -> SourceFrame:
        """Waits a moment for the newest picture.

        Raises:
            TimeoutError: There is none yet.
        """
        self._is_read = True
        frame = self._next()
        self.losses.corrupt = self._corrupt
        self._report_corrupt()
        if frame is None:
            self._report_silence()
            raise TimeoutError
        self._report_frame(frame)
        return frame

    def close(self) -> None:
        """Leaves the bus; may be called twice."""
        self._bus.close()
        with self._changed:
            self.losses.dropped += self._is_read and self._message is not None
            self._message = None

    def _receive(self, message: Received) -> None:
        with self._changed:
            self._received += 1
            self.losses.dropped += self._is_read and self._message is not None
            self._message = message
            self._changed.notify()

    def _next(self) -> SourceFrame | None:
        with self._changed:
            if self._message is None:
                self._changed.wait(_PATIENCE_SECONDS)
            message, self._message = self._message, None
            number = self._received - 1 - self._corrupt
        if message is None:
            return None
        try:
            picture = read_picture(message.content, message.message_type, self._window)
        except JetsegError as error:  # whatever others send must not end the loop
            self._corrupt += 1
            self._reason = error.found.rstrip(".")
            return None
        captured_at = self._clock.date(picture.stamp, message.arrived_at)
        dated_by: DatedBy = "arrival" if self._clock.differs else "capture"
        image, stamp = picture.image_hwc_u8, picture.stamp
        return SourceFrame(number, f"{number:06d}", captured_at, image, stamp=stamp, dated_by=dated_by)

    def _report_corrupt(self) -> None:
        now, count = perf_counter(), self._corrupt - self._reported_corrupt
        if count and now >= self._corrupt_event_at:
            self._reported_corrupt += count
            self._corrupt_event_at = now + _SECONDS_BETWEEN_CORRUPT_EVENTS
            text = f"{count} message(s) of {self.name} were no picture, and were skipped: {self._reason}."
            self._events.add("frame-corrupt", "warning", text, count=count)

    def _report_silence(self) -> None:
        silent_s = perf_counter() - self._heard_at
        if silent_s > self._limits.hung and self._silence != "camera-lost":
            self._silence = "camera-lost"
            text = f"{self.name} has sent no picture for {silent_s:.1f} seconds; it is taken up again when it is back."
            self._events.add("camera-lost", "alarm", text, silent_s=round(silent_s, 3))
        elif silent_s > self._limits.silent and not self._silence:
            self._silence = "camera-stalled"
            text = f"{self.name} has sent no picture for {silent_s:.1f} seconds."
            self._events.add("camera-stalled", "warning", text, silent_s=round(silent_s, 3))

    def _report_frame(self, frame: SourceFrame) -> None:
        silent_s, self._heard_at = perf_counter() - self._heard_at, perf_counter()
        if self._silence:
            text = f"{self.name} gives pictures again after {silent_s:.1f} seconds."
            self._events.add("camera-back", "info", text, silent_s=round(silent_s, 3))
            self._silence = ""
        height, width = frame.image_hwc_u8.shape[:2]
        if self.size_hw not in (None, (height, width)):
            text = f"{self.name} changed its frames to {width}x{height} pixels."
            self._events.add("size-changed", "info", text, width=width, height=height)
        self.size_hw = (height, width)
