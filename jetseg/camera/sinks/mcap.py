"""Frames, class maps, figures and events in MCAP files, which replay, and which others' tools open."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import perf_counter

from jetseg.camera.contract import FrameResult, Sink, SinkContext, SourceFrame
from jetseg.camera.sinks.background import Note, Output, in_background
from jetseg.camera.sinks.json_topics import note_message, schema_of
from jetseg.camera.sinks.segment_folder import SegmentFolder, bytes_of
from jetseg.camera.sinks.stamping import stamp_of
from jetseg.camera.sinks.task_topics import task_topics
from jetseg.manifest import Manifest
from jetseg.monitor.events import EventLog
from jetseg.ros.mcap_writing import McapWriter
from jetseg.ros.message_types import COMPRESSED_IMAGE, IMAGE, LABEL_INFO, to_cdr
from jetseg.ros.messages import compressed_message, image_message, label_info_message
from jetseg.ros.stamp import SECOND, Stamp
from jetseg.storage import make_folder, storage_error

FRAMES_TOPIC, CLASS_MAPS_TOPIC = "/camera/image/compressed", "/segmentation"
LABELS_TOPIC = f"{CLASS_MAPS_TOPIC}/label_info"
_FRAME_ID = "camera"


class McapSink(Output):
    """Writes MCAP files of a minute each; an `Output`.

    /camera/image/compressed is each frame as it came, /segmentation its class map (mono8), both with the frame's
    stamp and logged at the same time; /segmentation/TASK the same of each further task, depth as 32FC1 in meters;
    /segmentation/label_info and /segmentation/TASK/label_info, once a file, which id is which class;
    /jetseg/statistics and /jetseg/events are JSON. `kill -9` costs the last second at most.

    Args:
        folder: Where the files go; it is made if it does not exist.
        manifest: The network's manifest.
        segment_seconds: Length of a file.
        limit_bytes: The oldest files in the folder are deleted beyond this; None keeps all.
        lossless: Frames are PNG, which replay to the same class maps; else JPEG, a tenth of the size.
        events: Gets "recording-deleted".

    Raises:
        ConfigError: Depth has a unit that is no length.
        MissingDependencyError: mcap or rosbags is not installed.
        StorageError: The folder cannot be written to.
    """

    form = "mcap:DIR"
    kind = "mcap"
    wants_overlay = False

    @staticmethod
    def open(
        place: str,
        context: SinkContext,
        segment_seconds: float = 60.0,
        limit_gb: float | None = None,
        lossless: bool = True,
    ) -> AbstractContextManager[Sink]:
        """Opens a recording that writes in the background; see `jetseg.camera.contract.SinkKind`."""
        sink = McapSink(
            Path(place),
            context.manifest,
            segment_seconds,
            bytes_of(limit_gb),
            lossless=lossless,
            events=context.events,
        )
        return in_background(sink, context.events, live=context.live, watch=context.watch)

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        segment_seconds: float = 60.0,
        limit_bytes: int | None = None,
        *,
        lossless: bool = True,
        events: EventLog | None = None,
    ) -> None:
        self._folder = folder
        self._tasks = {task.task: task for task in task_topics(CLASS_MAPS_TOPIC, manifest)}
        further = {task.labels_topic: task.classes for task in self._tasks.values() if task.classes}
        self._classes = {LABELS_TOPIC: manifest.classes, **further}
        self._segments = SegmentFolder(folder, ".mcap", limit_bytes)
        self._segment_ns = round(segment_seconds * SECOND)
        self._lossless = lossless
        self._events = events or EventLog()
        self._file: McapWriter | None = None
        self._began_ns = time.time_ns()
        self._file_began_ns = self._last_ns = 0
        try:
            make_folder(folder)
            self._begin(self._began_ns)
        except OSError as error:
            raise storage_error(folder, error) from error

    def write(self, result: FrameResult) -> None:
        """Adds a frame and its maps.

        Raises:
            StorageError: The disk is full or read-only.
        """
        frame = result.frame
        stamp, logged_ns = stamp_of(frame, _FRAME_ID), self._moment(frame)
        picture = compressed_message(frame.image_hwc_u8, stamp, lossless=self._lossless)
        maps = {CLASS_MAPS_TOPIC: image_message(result.class_map_hw_u8, "mono8", stamp)}
        for task, values in result.further.items():
            maps[self._tasks[task].topic] = self._tasks[task].message(values, stamp)

        def add(file: McapWriter) -> None:
            file.add_message(FRAMES_TOPIC, COMPRESSED_IMAGE, to_cdr(picture), logged_ns, stamp.nanoseconds)
            for topic, message in maps.items():
                file.add_message(topic, IMAGE, to_cdr(message), logged_ns, stamp.nanoseconds)

        self._write(logged_ns, add)

    def note(self, note: Note) -> None:
        """Adds figures or an event."""
        topic, content = note_message(note)
        moment = self._last_ns or int(note.at * SECOND)  # a recording's own time may not be this machine's
        self._write(moment, lambda file: file.add_json(topic, *schema_of(topic), content, moment))

    def close(self) -> None:
        """Ends the present file.

        Raises:
            StorageError: Its last second did not get onto the disk.
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except OSError as error:
            raise storage_error(file.path, error) from error

    def _write(self, moment: int, add: Callable[[McapWriter], None]) -> None:
        if self._file is not None and not self._file.is_there():
            self._give_up(self._file)
        if self._file is not None and moment - self._file_began_ns >= self._segment_ns:
            self.close()
        try:
            add(self._file or self._begin(moment))
        except OSError as error:
            raise storage_error(self._file.path if self._file else self._folder, error) from error

    def _begin(self, moment: int) -> McapWriter:
        file = self._file = McapWriter(self._segments.next_path())
        self._file_began_ns = moment
        for topic, classes in self._classes.items():
            labels = to_cdr(label_info_message(classes, Stamp(moment, _FRAME_ID)))
            file.add_message(topic, LABEL_INFO, labels, moment, moment)
        file.flush()
        return file

    def _give_up(self, deleted: McapWriter) -> None:
        self._file = None
        with suppress(OSError):
            deleted.close()
        text = f"{deleted.path} was deleted while it was recorded; the recording goes on in a new file."
        self._events.add("recording-deleted", "warning", text)

    def _moment(self, frame: SourceFrame) -> int:
        """Returns when a frame is logged: as captured, or as a recording shows it; always after the one before."""
        if frame.shown_at is None:
            moment = time.time_ns() - round((perf_counter() - frame.captured_at) * SECOND)
        else:
            moment = self._began_ns + round(frame.shown_at * SECOND)
        self._last_ns = max(self._last_ns + 1, moment)
        return self._last_ns
