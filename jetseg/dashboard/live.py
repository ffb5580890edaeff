"""What the dashboard shows: the newest picture, and the run's figures, events and recent past."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from jetseg.camera.contract import FrameResult
from jetseg.camera.overlay import Overlay
from jetseg.errors import DeviceError
from jetseg.manifest import Manifest
from jetseg.monitor.class_shares import class_shares
from jetseg.monitor.events import EventLog
from jetseg.monitor.json_text import json_text
from jetseg.monitor.observer import Observation, Observer

PICTURES_PER_SECOND = 10.0
_WIDEST = 960
_JPEG_QUALITY = 80
_WAIT_SECONDS = 2.0
_POLL_SECONDS = 0.02
_EVENTS = 60
_PAST = 600
"""Points of the curves, two a second: five minutes."""


@dataclass(frozen=True)
class EncodedFrame:
    """An overlay as JPEG, and its frame's number."""

    sequence: int
    jpeg: bytes


class LiveView:
    """Keeps the newest result and draws and encodes it when a browser asks; a `Sink` that costs the loop nothing.

    Without a viewer nothing is drawn. However many there are, a frame is drawn once, ten times a second at
    most, and in a thread beside the loop's.

    Args:
        manifest: The network's manifest, for class names and colors.
        alpha: Weight of the class colors.
    """

    wants_overlay = False

    def __init__(self, manifest: Manifest, alpha: float = 0.5) -> None:
        self._overlay = Overlay(manifest, alpha)
        self.newest: FrameResult | None = None
        """The newest result of the loop; None before the first one."""
        self._encoded: EncodedFrame | None = None
        self._next_at = 0.0
        self._lock = asyncio.Lock()

    def write(self, result: FrameResult) -> None:
        """Keeps a result."""
        self.newest = result

    async def other_than(self, sequence: int) -> EncodedFrame | None:
        """Waits for a picture of another frame than the given one; None if none comes within two seconds."""
        until = perf_counter() + _WAIT_SECONDS
        while perf_counter() < until:
            async with self._lock:
                newest, encoded = self.newest, self._encoded
                is_new = newest is not None and (encoded is None or newest.frame.sequence != encoded.sequence)
                if newest is not None and is_new and perf_counter() >= self._next_at:
                    self._next_at = perf_counter() + 1 / PICTURES_PER_SECOND
                    self._encoded = await asyncio.to_thread(self._encode, newest)
                if self._encoded is not None and self._encoded.sequence != sequence:
                    return self._encoded
            await asyncio.sleep(_POLL_SECONDS)
        return None

    def _encode(self, result: FrameResult) -> EncodedFrame:
        image = result.frame.image_hwc_u8
        height, width = image.shape[:2]
        if width > _WIDEST:
            image = np.asarray(cv2.resize(image, (_WIDEST, round(height * _WIDEST / width))), dtype=np.uint8)
        drawn = self._overlay.draw(image, result.class_map_hw_u8)
        good, jpeg = cv2.imencode(".jpg", drawn, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        if not good:
            raise DeviceError("OpenCV could not encode a picture as JPEG.", "Use a build of OpenCV with JPEG.")
        return EncodedFrame(result.frame.sequence, jpeg.tobytes())


class ShownCamera:
    """What is shown of one camera; a follower of its run.

    Attributes:
        view: Its pictures; a sink of its run.
        figures: Its figures.
    """

    def __init__(self, manifest: Manifest, events: EventLog, title: Mapping[str, str], alpha: float) -> None:
        self.view = LiveView(manifest, alpha)
        self.figures = LiveFigures(events, self.view, manifest, title)

    @contextmanager
    def follow(self, observer: Observer) -> Iterator[None]:
        """Shows the run that `observer` looks at; to be called before anyone asks."""
        self.figures.follow(observer)
        yield


class LiveFigures:
    """Gives the run's figures as JSON.

    Args:
        events: Of the run.
        view: Gives the class map for the shares of the classes.
        manifest: The network's manifest.
        title: Named at the top: engine and source.
    """

    def __init__(self, events: EventLog, view: LiveView, manifest: Manifest, title: Mapping[str, str]) -> None:
        self._observer: Observer | None = None
        self._events = events
        self._view = view
        self._manifest = manifest
        self._fixed = {
            "run": uuid.uuid4().hex,
            "title": dict(title),
            "classes": [
                {"name": name, "color": color} for name, color in zip(manifest.classes, manifest.colors, strict=True)
            ],
        }
        self._past: deque[dict[str, float | None]] = deque(maxlen=_PAST)
        self._answered_at = 0.0
        self._answer = b""

    def follow(self, observer: Observer) -> None:
        """Shows the run that `observer` looks at; to be called before anyone asks."""
        self._observer = observer
        observer.listen(lambda observation: self._past.append(_point(observation)))

    def present(self) -> bytes:
        """Returns the present state; worked out four times a second at most."""
        if perf_counter() - self._answered_at > 0.25:
            self._answer = json_text(self._state(self._observer.latest) if self._observer else self._fixed)
            self._answered_at = perf_counter()
        return self._answer

    def brief(self) -> dict[str, Any] | None:
        """Returns what a list of cameras shows of this one; None while nothing is known."""
        if self._observer is None:
            return None
        latest = self._observer.latest
        return {
            "fps": latest.frames_per_second,
            "age_p50": latest.frame_age_ms.get("p50"),
            "since_last_frame_s": latest.since_last_frame_s,
        }

    def past(self) -> bytes:
        """Returns the points of the last five minutes."""
        return json_text({"run": self._fixed["run"], "points": list(self._past)})

    def _state(self, observation: Observation) -> dict[str, Any]:
        newest = self._view.newest
        return {
            **self._fixed,
            "now": time.time(),
            "point": _point(observation),
            "since_last_frame_s": observation.since_last_frame_s,
            "summary": asdict(observation.summary),
            "stage_ms": observation.stage_ms,
            "class_shares": class_shares(newest.class_map_hw_u8, self._manifest.classes) if newest else {},
            "drift": (observation.further.get("drift") or {}).get("signals", {}),
            "estimate": observation.further.get("estimate"),
            "shadow": observation.further.get("shadow"),
            "host": asdict(observation.host) if observation.host else None,
            "events": [asdict(event) for event in self._events.recent(_EVENTS)],
        }


def _point(observation: Observation) -> dict[str, float | None]:
    """One point of the curves."""
    summary, estimate = observation.summary, observation.further.get("estimate") or {}
    return {
        "at": observation.at,
        "fps": observation.frames_per_second,
        "age_p50": observation.frame_age_ms.get("p50"),
        "age_p99": observation.frame_age_ms.get("p99"),
        "frames": summary.frames,
        "captured": summary.captured,
        "dropped": summary.dropped,
        "miou": summary.miou,
        "estimate": estimate.get("miou"),
        "estimate_low": estimate.get("low"),
        "estimate_high": estimate.get("high"),
        "agreement": (observation.further.get("shadow") or {}).get("agreement_miou"),
    }
