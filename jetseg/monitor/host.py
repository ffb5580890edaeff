"""The machine that a run is on: load, heat, power, clocks, and whether it slowed itself down."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import psutil

from jetseg.monitor.events import EventLog
from jetseg.monitor.host_files import HostFiles, read_host_files

_POWER_MODE_SECONDS = 30.0
_CALM_SECONDS = 10.0
"""How long the device must run freely before throttling counts as over."""


@dataclass(frozen=True)
class HostSample:
    """The machine at one moment; None where it does not tell.

    Attributes:
        at: Unix time, in seconds.
        cpu_percent: Of all cores together, 0..100, since the last sample.
        memory_percent: Of the machine's memory.
        process_mb: Resident memory of this process, in megabytes.
        temperature_c: Of the hottest zone.
        temperatures_c: By zone.
        power_w: Of the whole board.
        clocks_mhz: Of "cpu" and "gpu".
        power_mode: nvpmodel's name for it.
        throttled: Why the device slows itself down now; empty if it does not.
    """

    at: float
    cpu_percent: float
    memory_percent: float
    process_mb: float
    temperature_c: float | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    power_w: float | None = None
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    power_mode: str | None = None
    throttled: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostSummary:
    """What a run's samples came to; None where the machine does not tell.

    Attributes:
        cpu_percent: Mean.
        memory_percent: Highest.
        process_mb: Highest, in megabytes.
        temperature_c: Highest.
        power_w: Mean.
        power_mode: nvpmodel's name for the last one.
        throttled_seconds: How long the device slowed itself down; None if it has nothing to tell it by.
    """

    cpu_percent: float
    memory_percent: float
    process_mb: float
    temperature_c: float | None
    power_w: float | None
    power_mode: str | None
    throttled_seconds: float | None


class HostMonitor:
    """Samples the machine once a second in its own thread, between `with` and its end.

    Args:
        events: Gets "throttling-started" and "throttling-ended".
        period_seconds: Between samples.
        root: Folder that stands for `/`.
    """

    def __init__(self, events: EventLog, *, period_seconds: float = 1.0, root: Path = Path("/")) -> None:
        self._events = events
        self._period_seconds = period_seconds
        self._root = root
        self._process = psutil.Process()
        self._ended = Event()
        self._sums = _Sums()
        self._counts: Mapping[str, int] = {}
        self._power_mode: str | None = None
        self._next_power_mode = 0.0
        self._throttled_at: float | None = None
        self.latest: HostSample | None = None
        self._thread = Thread(target=self._work, name="jetseg-host", daemon=True)

    def __enter__(self) -> HostMonitor:
        psutil.cpu_percent()  # the first call only begins the interval
        self._counts = read_host_files(self._root).throttle_counts
        self.latest = self.sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def sample(self) -> HostSample:
        """Reads the machine now."""
        files = read_host_files(self._root)
        temperatures = files.temperatures_c or _psutil_temperatures()
        return HostSample(
            at=time.time(),
            cpu_percent=psutil.cpu_percent(),
            memory_percent=psutil.virtual_memory().percent,
            process_mb=self._process.memory_info().rss / 1e6,
            temperature_c=max(temperatures.values(), default=None),
            temperatures_c=temperatures,
            power_w=files.power_w,
            clocks_mhz=files.clocks_mhz,
            power_mode=self._read_power_mode(),
            throttled=self._throttled(files),
        )

    def is_hot(self) -> bool:
        """Whether the device slows itself down now."""
        latest = self.latest
        return latest is not None and bool(latest.throttled)

    def summary(self) -> HostSummary | None:
        """Returns what the samples so far came to; None before the first second."""
        return self._sums.summary()

    def _work(self) -> None:
        while not self._ended.wait(self._period_seconds):
            try:
                sample = self.sample()
            except (OSError, psutil.Error):
                self.latest = None  # unknown for a second is better than old
                continue
            self.latest = sample
            self._sums.add(sample, self._period_seconds)
            self._report(sample)

    def _throttled(self, files: HostFiles) -> tuple[str, ...]:
        rising = [name for name, count in files.throttle_counts.items() if count > self._counts.get(name, 0)]
        self._counts = files.throttle_counts
        self._sums.can_tell = self._sums.can_tell or bool(files.throttle_counts or files.temperatures_c)
        return files.cooling + tuple(rising)

    def _report(self, sample: HostSample) -> None:
        if sample.throttled:
            if self._throttled_at is None:
                reasons = ", ".join(sample.throttled)
                heat = {"temperature_c": sample.temperature_c, "power_w": sample.power_w}
                self._events.add("throttling-started", "warning", f"The device slows itself down: {reasons}.", **heat)
            self._throttled_at = sample.at
        elif self._throttled_at is not None and sample.at - self._throttled_at >= _CALM_SECONDS:
            self._throttled_at = None
            self._events.add("throttling-ended", "info", "The device runs freely again.")

    def _read_power_mode(self) -> str | None:
        now = time.monotonic()
        if now >= self._next_power_mode:
            self._next_power_mode = now + _POWER_MODE_SECONDS
            self._power_mode = read_power_mode()
        return self._power_mode


class _Sums:
    """Sums and maxima of a run's samples."""

    def __init__(self) -> None:
        self.can_tell = False
        self._count = 0
        self._cpu = 0.0
        self._powers, self._power_count = 0.0, 0
        self._memory = self._process_mb = 0.0
        self._temperature: float | None = None
        self._throttled_seconds = 0.0
        self._power_mode: str | None = None

    def add(self, sample: HostSample, seconds: float) -> None:
        self._count += 1
        self._cpu += sample.cpu_percent
        self._memory = max(self._memory, sample.memory_percent)
        self._process_mb = max(self._process_mb, sample.process_mb)
        self._power_mode = sample.power_mode
        if sample.power_w is not None:
            self._powers, self._power_count = self._powers + sample.power_w, self._power_count + 1
        if sample.temperature_c is not None:
            self._temperature = max(sample.temperature_c, self._temperature or sample.temperature_c)
        if sample.throttled:
            self._throttled_seconds += seconds

    def summary(self) -> HostSummary | None:
        if not self._count:
            return None
        return HostSummary(
            cpu_percent=self._cpu / self._count,
            memory_percent=self._memory,
            process_mb=self._process_mb,
            temperature_c=self._temperature,
            power_w=self._powers / self._power_count if self._power_count else None,
            power_mode=self._power_mode,
            throttled_seconds=self._throttled_seconds if self.can_tell else None,
        )


def _psutil_temperatures() -> dict[str, float]:
    read = getattr(psutil, "sensors_temperatures", None)
    groups = read() if read is not None else {}
    return {f"{name} {entry.label}".strip(): entry.current for name, entries in groups.items() for entry in entries}


def read_power_mode() -> str | None:
    """Returns the power mode as nvpmodel names it; None where there is none."""
    if shutil.which("nvpmodel") is None:
        return None
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    mode = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return mode[1] if mode else None
