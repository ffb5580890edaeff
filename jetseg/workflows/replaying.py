"""A recording of one engine's run through another engine: which class maps are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from jetseg.camera.sinks.mcap import CLASS_MAPS_TOPIC, FRAMES_TOPIC, LABELS_TOPIC
from jetseg.config import Settings, validate_config
from jetseg.engine.engine import Engine
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import check_classes
from jetseg.kit.signature import key_in_force
from jetseg.kit.signed import open_driven
from jetseg.manifest import Manifest
from jetseg.network import Network
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8
from jetseg.progress import track
from jetseg.ros.images import read_picture
from jetseg.ros.message_types import LABEL_INFO, from_cdr
from jetseg.ros.recording import Recording, Stored, open_recording
from jetseg.workflows.opening import enter_engine, manifest_for

_MOST_WAITING = 50
"""Frames whose class map may still come, and the other way round."""


class ReplayConfig(Settings):
    """What is compared in a recording."""

    topic: str = Field(FRAMES_TOPIC, description="Topic of the frames.")
    class_maps_topic: str = Field(CLASS_MAPS_TOPIC, description="Topic of the recorded class maps.")
    min_agreement: float | None = Field(
        None, ge=0, le=100, description="Least percent of pixels with the recorded class, over all frames."
    )


@dataclass(frozen=True)
class Replay:
    """What a replay came to.

    Attributes:
        frames: Frames that were compared.
        identical: Those whose class maps are the same, pixel by pixel.
        agreement: Pixels with the recorded class, in percent, over all frames.
        worst_agreement: The same of the frame that differs most.
        worst_frame: Its number, from 0.
        unmatched: Frames without a class map, and class maps without a frame.
        corrupt: Messages that could not be read.
        damage: Why the recording ends early; empty if it does not.
    """

    frames: int
    identical: int
    agreement: float
    worst_agreement: float
    worst_frame: int
    unmatched: int
    corrupt: int
    damage: str


def replay(
    recording: Path | str,
    engine: Engine | Network | Path | str,
    *,
    manifest: Path | str | None = None,
    threads: int | None = None,
    key: Path | str | None = None,
    **settings: object,
) -> Replay:
    """Runs the frames of a recording through an engine and compares its class maps with the recorded ones.

    A frame and its class map belong together by the time at which they were logged, as `--record-mcap` writes them.

    Args:
        recording: An MCAP file, or a folder of them.
        engine: Engine, ONNX file or checkpoint: opened, in which case the caller closes it, or by its path or name.
        manifest: Manifest for a file that has none beside it.
        threads: Threads of a CPU backend.
        key: Public key of minisign that the engine must be signed with.
        settings: Fields of `ReplayConfig`.

    Raises:
        DataError: The recording lacks frames or class maps, or its classes are others than the engine's.
    """
    config = validate_config(ReplayConfig, settings)
    path, public = Path(recording), key_in_force(key)
    with ExitStack() as stack:
        if not isinstance(engine, Engine | Network):
            engine = open_driven(engine, manifest_for(engine, manifest), public)
        opened = enter_engine(stack, engine, threads=threads)
        stored = open_recording(path)
        stack.callback(stored.close)
        _check_topics(stored, path, config)
        pairs = _Pairs(stored, path, config, opened.manifest)
        return _compare(pairs, opened, path)


def _compare(pairs: _Pairs, engine: Engine, path: Path) -> Replay:
    same = total = identical = 0
    worst, worst_frame, frames = 101.0, 0, 0
    for frame, recorded in track(pairs.read(), f"Replaying {path.name}"):
        found = resize_class_map(engine.segment(frame), *recorded.shape)
        equal = int(np.count_nonzero(found == recorded))
        share = 100 * equal / recorded.size
        same, total, identical = same + equal, total + recorded.size, identical + (equal == recorded.size)
        if share < worst:
            worst, worst_frame = share, frames
        frames += 1
    if not frames:
        raise DataError(f"{path} holds no frame with its class map.", "Record with `--record-mcap`.")
    return Replay(
        frames, identical, 100 * same / total, worst, worst_frame, pairs.unmatched, pairs.corrupt, pairs.damage
    )


class _Pairs:
    """Frames with their class maps, in one reading of a recording; classes that it tells are checked on the way."""

    def __init__(self, recording: Recording, path: Path, config: ReplayConfig, manifest: Manifest) -> None:
        self.unmatched = self.corrupt = 0
        self._recording, self._path = recording, path
        self._topics = (config.topic, config.class_maps_topic)
        self._classes, self._window = manifest.classes, manifest.input.frames

    @property
    def damage(self) -> str:
        return self._recording.damage

    def read(self) -> Iterator[tuple[FrameU8, ClassMap]]:
        waiting: dict[int, Stored] = {}
        for stored in self._recording.messages((*self._topics, LABELS_TOPIC)):
            if stored.topic == LABELS_TOPIC:
                self._check_classes(stored)
                continue
            other = waiting.get(stored.logged_ns)
            if other is None or other.topic == stored.topic:
                waiting[stored.logged_ns] = stored
                self.unmatched += other is not None  # another frame of that moment
                if len(waiting) > _MOST_WAITING:
                    del waiting[next(iter(waiting))]
                    self.unmatched += 1
                continue
            del waiting[stored.logged_ns]
            frame, class_map = (stored, other) if stored.topic == self._topics[0] else (other, stored)
            try:
                picture = read_picture(frame.content, frame.message_type, self._window)
                ids = read_picture(class_map.content, class_map.message_type)
            except DataError:
                self.corrupt += 1
                continue
            yield picture.image_hwc_u8, np.ascontiguousarray(ids.image_hwc_u8[..., 0])
        self.unmatched += len(waiting)

    def _check_classes(self, labels: Stored) -> None:
        """Refuses class maps of other classes; each file of a recording begins with its own."""
        if labels.message_type == LABEL_INFO:
            named = {entry.class_id: entry.class_name for entry in from_cdr(labels.content, LABEL_INFO).class_map}
            check_classes(self._classes, tuple(named[number] for number in sorted(named)), str(self._path))


def _check_topics(recording: Recording, path: Path, config: ReplayConfig) -> None:
    topics = recording.topics()
    lacking = [topic for topic in (config.topic, config.class_maps_topic) if topic not in topics]
    if lacking:
        listed = ", ".join(topics) or "no topic"
        raise DataError(f"{path} has no {' and no '.join(lacking)}; it holds {listed}.", "Record with `--record-mcap`.")
