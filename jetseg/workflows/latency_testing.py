"""Measures what a vehicle feels: from the glass of a clock that a camera films to the class map of that frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import perf_counter

import numpy as np

from jetseg.address import SourceAddress
from jetseg.camera.contract import FrameResult, Source
from jetseg.camera.qr_clock import read_clock, show_clock
from jetseg.camera.sinks.background import Output, in_background
from jetseg.camera.stopping import StopFlag
from jetseg.engine.engine import Engine
from jetseg.errors import QualityError
from jetseg.monitor.events import EventLog
from jetseg.monitor.rate import Percentiles
from jetseg.network import Network
from jetseg.workflows.driving import open_drive

_OLDEST_SECONDS = 30.0


@dataclass(frozen=True)
class LatencyTest:
    """What a test came to, over the frames whose clock could be read.

    Attributes:
        glass_to_mask_ms: From the moment that the clock showed to the class map being ready, of each frame.
        frame_age_ms: The age that the loop said of the same frames.
        frame_age_since: What that age counts from; see `jetseg.monitor.statistics.LoopSummary`.
        frames: Frames that were segmented.
    """

    glass_to_mask_ms: tuple[float, ...]
    frame_age_ms: tuple[float, ...]
    frame_age_since: str
    frames: int

    @property
    def glass_to_mask(self) -> Percentiles:
        """The percentiles of that."""
        return Percentiles.of(self.glass_to_mask_ms)

    @property
    def frame_age(self) -> Percentiles:
        """The percentiles of the age."""
        return Percentiles.of(self.frame_age_ms)

    @property
    def unseen_ms(self) -> float:
        """The median of what the age lacks: display, exposure, and, since arrival, encoder, network and decoder."""
        return float(np.median(np.subtract(self.glass_to_mask_ms, self.frame_age_ms)))


def measure_glass_to_mask(
    engine: Engine | Network | Path | str,
    *,
    source: Source | SourceAddress | str,
    seconds: float = 10.0,
    window: bool = True,
    manifest: Path | str | None = None,
    threads: int | None = None,
    key: Path | str | None = None,
    stop: StopFlag | None = None,
    events: EventLog | None = None,
) -> LatencyTest:
    """Runs an engine on a camera that films a clock, and reads the clock off each frame.

    Args:
        engine: See `jetseg.workflows.driving.run_camera`.
        source: The camera, or a stream that carries the clock.
        seconds: Length of the test.
        window: Show the clock on this machine's screen, in the calling thread, the main one. Else the source shows one
            already: `jetseg.camera.qr_clock.clock_picture`, of a clock that agrees with this machine's.
        manifest: Manifest for a file that has none.
        threads: Threads of a CPU backend.
        key: Public key.
        stop: Ends the test.
        events: Gets what happens.

    Raises:
        QualityError: No frame showed a clock that could be read.
        JetsegError: Something cannot be opened, or failed.
    """
    stop, events, reader = stop or StopFlag(), events or EventLog(), _ClockReader()
    failed: list[Exception] = []
    with (
        in_background(reader, events, live=True) as sink,
        open_drive(
            engine,
            source=source,
            sinks=[sink],
            manifest=manifest,
            threads=threads,
            key=key,
            stop=stop,
            events=events,
            seconds=seconds,
            drift=False,
            estimate=False,
        ) as drive,
    ):

        def work() -> None:
            try:
                drive.run()
            except Exception as error:
                failed.append(error)
            finally:
                stop.requested = True

        loop = Thread(target=work, name="jetseg-latency-test", daemon=True)
        loop.start()
        try:
            if window:
                show_clock(stop)
        finally:
            stop.requested |= window
            loop.join()
    if failed:
        raise failed[0]
    if not reader.latencies_ms:
        raise QualityError(
            f"None of {drive.statistics.rate.count} frames showed a clock that could be read.",
            "Point the camera at the clock so that it fills a third of the picture, in focus and not overexposed.",
        )
    return LatencyTest(
        tuple(reader.latencies_ms), tuple(reader.ages_ms), drive.statistics.age_since, drive.statistics.rate.count
    )


class _ClockReader(Output):
    """Reads the clock off as many frames as it has time for; an `Output`."""

    kind = "latency-test"
    wants_overlay = False

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.ages_ms: list[float] = []

    def write(self, result: FrameResult) -> None:
        ready_at = time.time() - (perf_counter() - result.ready_at)
        shown_at = read_clock(result.frame.image_hwc_u8)
        if shown_at is not None and 0 <= ready_at - shown_at <= _OLDEST_SECONDS:
            self.latencies_ms.append((ready_at - shown_at) * 1e3)
            self.ages_ms.append((result.ready_at - result.frame.captured_at) * 1e3)
