"""The run live in Foxglove: frames, class maps, figures and events."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.overlay import Overlay
from jetseg.camera.sinks.background import Note, Output, in_background
from jetseg.camera.sinks.json_topics import EVENTS_TOPIC, STATISTICS_TOPIC, note_message, schema_of
from jetseg.camera.sinks.stamping import stamp_of
from jetseg.camera.sinks.task_topics import task_topics
from jetseg.errors import ConfigError, import_optional
from jetseg.manifest import Manifest
from jetseg.ros.message_types import COMPRESSED_IMAGE, IMAGE, definition, to_cdr
from jetseg.ros.messages import compressed_message, image_message
from jetseg.ros.stamp import SECOND

_FRAMES, _CLASS_MAPS, _OVERLAYS = "/camera/image/compressed", "/segmentation", "/segmentation/overlay/compressed"
_FRAME_ID = "camera"
_BACKLOG = 8
"""Messages that wait for a slow client; it loses the older ones."""


class FoxgloveSink(Output):
    """Serves Foxglove's protocol on a port; an `Output`. What nobody watches is not made.

    Whoever reaches the port sees the camera, pages in a browser on the same machine included: a websocket asks no one.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        manifest: The network's manifest.
        name: Shown to whoever connects.
        alpha: Weight of the class colors in overlays.

    Raises:
        MissingDependencyError: foxglove-sdk or rosbags is not installed.
        ConfigError: The address cannot be bound, or depth has a unit that is no length.
    """

    form = "foxglove:HOST:PORT"
    kind = "foxglove"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens `PORT` on loopback, or `HOST:PORT`; see `jetseg.camera.contract.SinkKind`."""
        host, _, port = place.rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"{place!r} is no port for Foxglove.", "Write it as foxglove:8765.")
        name = f"jetseg: {context.source}"
        sink = FoxgloveSink(host.strip("[]") or "127.0.0.1", int(port), context.manifest, name, context.alpha)
        return in_background(sink, context.events, live=True, watch=context.watch)

    def __init__(self, host: str, port: int, manifest: Manifest, name: str = "jetseg", alpha: float = 0.5) -> None:
        library = import_optional("foxglove", "foxglove-sdk", "foxglove", "shows a run in Foxglove")
        self._overlay = Overlay(manifest, alpha)
        own = self._context = library.Context()  # its channels vanish with it

        def channel(topic: str, message_type: str) -> Any:  # noqa: ANN401 - foxglove is optional
            text = definition(message_type).encode()
            schema = library.Schema(name=message_type, encoding="ros2msg", data=text)
            return library.Channel(topic, schema=schema, message_encoding="cdr", context=own)

        self._frames, self._overlays = channel(_FRAMES, COMPRESSED_IMAGE), channel(_OVERLAYS, COMPRESSED_IMAGE)
        self._class_maps = channel(_CLASS_MAPS, IMAGE)
        self._tasks = {task.task: task for task in task_topics(_CLASS_MAPS, manifest)}
        self._further = {task.task: channel(task.topic, IMAGE) for task in self._tasks.values()}
        self._notes = {
            topic: library.Channel(topic, schema=schema_of(topic)[1], context=own)
            for topic in (STATISTICS_TOPIC, EVENTS_TOPIC)
        }
        try:
            self._server = library.start_server(
                name=name, host=host, port=port, context=own, message_backlog_size=_BACKLOG
            )
        except Exception as error:  # of Rust's own kinds
            raise ConfigError(
                f"Foxglove cannot be served on {host}:{port}: {error}.", "Give another port, or end what uses it."
            ) from error
        self.port: int = self._server.port

    def write(self, result: FrameResult) -> None:
        """Sends a frame, its maps and an overlay to those who watch them."""
        stamp, image, ids = stamp_of(result.frame, _FRAME_ID), result.frame.image_hwc_u8, result.class_map_hw_u8
        now = time.time_ns()
        if self._frames.has_sinks():
            self._frames.log(to_cdr(compressed_message(image, stamp)), log_time=now)
        if self._class_maps.has_sinks():
            self._class_maps.log(to_cdr(image_message(ids, "mono8", stamp)), log_time=now)
        for task, values in result.further.items():
            if self._further[task].has_sinks():
                self._further[task].log(to_cdr(self._tasks[task].message(values, stamp)), log_time=now)
        if self._overlays.has_sinks():
            picture = self._overlay.draw(image, ids, further=result.further)
            self._overlays.log(to_cdr(compressed_message(picture, stamp)), log_time=now)

    def note(self, note: Note) -> None:
        """Sends figures or an event."""
        topic, content = note_message(note)
        self._notes[topic].log(content, log_time=int(note.at * SECOND))

    def reset(self) -> None:
        """Holds nothing that an error could spoil."""

    def close(self) -> None:
        """Frees the port; may be called twice."""
        self._server.stop()
