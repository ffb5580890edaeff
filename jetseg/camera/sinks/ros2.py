"""Class maps, overlays, classes and diagnostics on topics of ROS 2."""

from __future__ import annotations

import platform
import time
from contextlib import AbstractContextManager

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.overlay import Overlay
from jetseg.camera.sinks.background import Note, Output, in_background
from jetseg.camera.sinks.figures import flat_figures, judge
from jetseg.camera.sinks.stamping import stamp_of
from jetseg.camera.sinks.task_topics import task_topics
from jetseg.manifest import Manifest
from jetseg.monitor.observer import Observation
from jetseg.ros.bus import Bus, Delivery, open_bus
from jetseg.ros.message_types import COMPRESSED_IMAGE, DIAGNOSTICS, IMAGE, LABEL_INFO, to_cdr
from jetseg.ros.messages import compressed_message, diagnostics_message, image_message, label_info_message
from jetseg.ros.names import check_topic, parse_place
from jetseg.ros.stamp import Stamp

_OVERLAY = "/overlay/compressed"
_DIAGNOSTICS_SECONDS = 1.0


class Ros2Sink(Output):
    """Publishes to ROS 2; an `Output`.

    TOPIC is a sensor_msgs/Image (mono8) of class ids, with the time stamp and frame_id of the picture that it belongs
    to; TOPIC/TASK the same of each further task of the network, depth as 32FC1 in meters; TOPIC/overlay/compressed the
    frame with colored classes, which is drawn while somebody subscribes to it; TOPIC/label_info and
    TOPIC/TASK/label_info, latched, which id is which class; /diagnostics the figures of the run, once a second.

    Args:
        bus: It is closed with the sink.
        topic: The whole name.
        manifest: The network's manifest.
        reliable: Class maps and overlays are sent again until they arrive.
        frame_id: Coordinate frame of cameras that do not tell theirs.
        alpha: Weight of the class colors in overlays.
    """

    form = "ros2:TOPIC"
    kind = "ros2"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens `/segmentation`, or with settings of `jetseg.ros.names.RosSettings`; see `SinkKind`."""
        topic, settings = parse_place(place, Ros2Sink.form)
        further = task_topics(topic, context.manifest)
        for name in (f"{topic}{_OVERLAY}", *(task.labels_topic for task in further)):  # the longest
            check_topic(name)
        bus = open_bus(settings)
        try:
            sink = Ros2Sink(
                bus,
                topic,
                context.manifest,
                reliable=settings.reliable,
                frame_id=settings.frame_id,
                alpha=context.alpha,
            )
        except BaseException:
            bus.close()
            raise
        return in_background(sink, context.events, live=context.live, watch=context.watch)

    def __init__(
        self,
        bus: Bus,
        topic: str,
        manifest: Manifest,
        *,
        reliable: bool = False,
        frame_id: str = "camera",
        alpha: float = 0.5,
    ) -> None:
        pictures = Delivery(reliable=reliable)
        self._bus = bus
        self._frame_id = frame_id
        self._overlay = Overlay(manifest, alpha)
        self._next_diagnostics = 0.0
        self._class_maps = bus.publisher(topic, IMAGE, pictures)
        self._overlays = bus.publisher(f"{topic}{_OVERLAY}", COMPRESSED_IMAGE, pictures)
        self._diagnostics = bus.publisher("/diagnostics", DIAGNOSTICS, Delivery(reliable=True, depth=10))
        self._tasks = {task.task: task for task in task_topics(topic, manifest)}
        self._further = {task.task: bus.publisher(task.topic, IMAGE, pictures) for task in self._tasks.values()}
        classes = {task.labels_topic: task.classes for task in self._tasks.values() if task.classes}
        self._labels = []
        for name, known in {f"{topic}/label_info": manifest.classes, **classes}.items():
            labels = bus.publisher(name, LABEL_INFO, Delivery(reliable=True, latched=True))
            labels.send(to_cdr(label_info_message(known, Stamp(time.time_ns(), frame_id))))
            self._labels.append(labels)

    def write(self, result: FrameResult) -> None:
        """Publishes the maps of one frame, and the overlay where somebody wants it."""
        stamp = stamp_of(result.frame, self._frame_id)
        self._class_maps.send(to_cdr(image_message(result.class_map_hw_u8, "mono8", stamp)))
        for task, values in result.further.items():
            self._further[task].send(to_cdr(self._tasks[task].message(values, stamp)))
        if self._overlays.is_wanted():
            picture = self._overlay.draw(result.frame.image_hwc_u8, result.class_map_hw_u8, further=result.further)
            self._overlays.send(to_cdr(compressed_message(picture, stamp)))

    def note(self, note: Note) -> None:
        """Publishes the figures, once a second."""
        now = time.monotonic()
        if not isinstance(note, Observation) or now < self._next_diagnostics:
            return
        self._next_diagnostics = now + _DIAGNOSTICS_SECONDS
        level, text = judge(note)
        stamp = Stamp(int(note.at * 1e9), "")
        message = diagnostics_message("jetseg: segmentation", level, text, flat_figures(note), stamp, platform.node())
        self._diagnostics.send(to_cdr(message))

    def reset(self) -> None:
        """Holds nothing that an error could spoil."""

    def close(self) -> None:
        """Leaves the bus."""
        self._bus.close()
