"""A run's figures in Prometheus' format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from jetseg.errors import import_optional
from jetseg.monitor.events import Event, EventLog
from jetseg.monitor.observer import Observation, Observer

_PERCENTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
_COUNTERS = {
    "frames": "Frames that got a class map.",
    "captured": "Frames that the source gave.",
    "dropped": "Frames that were lost to newer ones.",
}
_TOLD_APART = {*_COUNTERS, "frames_per_second", "engine_frames_per_second", "frame_age_ms", "stage_ms"}
_TOLD_APART |= {"miou", "per_class_iou", "estimate"}
_HOST = {
    "cpu_percent": ("cpu_ratio", 0.01, "Load of all cores together."),
    "memory_percent": ("memory_ratio", 0.01, "Memory of the machine in use."),
    "process_mb": ("process_resident_bytes", 1e6, "Resident memory of the process."),
    "power_w": ("power_watts", 1.0, "Power of the whole board."),
}


class Metrics:
    """Collects for Prometheus; the figures are those of the observer's last look.

    What the run's summary and other monitors hold beyond the figures named here appears as `jetseg_run{figure="path"}`.

    Args:
        events: Counted by kind and severity.

    Raises:
        MissingDependencyError: prometheus-client is not installed.
    """

    def __init__(self, events: EventLog) -> None:
        self._observers: dict[str, Observer] = {}
        self._library = import_optional(
            "prometheus_client", "prometheus-client", "dashboard", "writes metrics for Prometheus"
        )
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()
        self._registry = self._library.CollectorRegistry()
        self._registry.register(self)
        events.listen(self._count)

    def show(self, observer: Observer, camera: str = "") -> None:
        """Gives the figures of a run from now on; those of a camera with a name have it as a label."""
        self._observers[camera] = observer

    def page(self) -> tuple[bytes, str]:
        """Returns the present figures as text, and its content type."""
        content: bytes = self._library.exposition.generate_latest(self._registry)
        return content, self._library.exposition.CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Any]:
        """Yields Prometheus' metric families; called by its registry."""
        yield self._event_counts()
        families: dict[str, Any] = {}  # one of each name, with the samples of every camera
        observations = {camera: observer.latest for camera, observer in self._observers.copy().items()}
        for camera, observation in observations.items():
            labels = {"camera": camera} if camera else {}
            for family in self._of_run(observation):
                samples = [sample._replace(labels={**sample.labels, **labels}) for sample in family.samples]
                family.samples = [*getattr(families.get(family.name), "samples", ()), *samples]
                families[family.name] = family
        yield from families.values()
        for observation in list(observations.values())[:1]:
            yield from self._host(observation)

    def _of_run(self, observation: Observation) -> Iterator[Any]:
        yield from self._rates(observation)
        yield from self._latencies(observation)
        yield from self._accuracy(observation)

    def _rates(self, observation: Observation) -> Iterator[Any]:
        summary = observation.summary
        for name, text in _COUNTERS.items():
            family = self._library.metrics_core.CounterMetricFamily
            yield family(f"jetseg_{name}", text, value=getattr(summary, name))
        yield self._gauge("jetseg_frames_per_second", "Over the last two seconds.", observation.frames_per_second)
        if summary.engine_frames_per_second is not None:
            text = "Of the bare engine, measured before the run."
            yield self._gauge("jetseg_engine_frames_per_second", text, summary.engine_frames_per_second)
        if observation.since_last_frame_s is not None:
            text = "Since a class map was ready."
            yield self._gauge("jetseg_since_last_frame_seconds", text, observation.since_last_frame_s)

    def _latencies(self, observation: Observation) -> Iterator[Any]:
        ages = {_PERCENTILES[name]: age_ms / 1e3 for name, age_ms in observation.frame_age_ms.items()}
        text = "From capture to class map, over the last frames."
        yield self._gauges("jetseg_frame_age_seconds", text, "quantile", ages)
        stages = {name: stage_ms / 1e3 for name, stage_ms in observation.stage_ms.items()}
        yield self._gauges("jetseg_stage_seconds", "Median time in a stage, over the last frames.", "stage", stages)

    def _accuracy(self, observation: Observation) -> Iterator[Any]:
        summary = observation.summary
        if summary.miou is not None:
            yield self._gauge("jetseg_miou_ratio", "Mean IoU against labels, over the run.", summary.miou / 100)
        if summary.per_class_iou:
            known = {name: iou / 100 for name, iou in summary.per_class_iou.items() if iou is not None}
            yield self._gauges("jetseg_iou_ratio", "IoU against labels, over the run.", "class", known)
        if (estimate := observation.further.get("estimate")) and estimate["window"] is not None:
            yield from self._estimate(estimate)
        others = dict(flat_numbers(observation.remaining(_TOLD_APART)))
        yield self._gauges("jetseg_run", "Further figures of the run.", "figure", others)

    def _estimate(self, estimate: Mapping[str, Any]) -> Iterator[Any]:
        ends = ("low", "miou", "high")
        text = "Mean IoU of the newest window, estimated without labels, and the ends of its interval."
        yield self._gauges("jetseg_estimated_miou_ratio", text, "end", {end: estimate[end] / 100 for end in ends})
        family = self._library.metrics_core.GaugeMetricFamily
        classes = family("jetseg_estimated_iou_ratio", "Likewise for each class.", labels=["class", "end"])
        for name, found in estimate["per_class_iou"].items():
            for end, value in (found or {}).items():
                classes.add_metric([name, end], value / 100)
        yield classes

    def _host(self, observation: Observation) -> Iterator[Any]:
        host = observation.host
        if host is None:
            return
        for attribute, (name, factor, text) in _HOST.items():
            if (value := getattr(host, attribute)) is not None:
                yield self._gauge(f"jetseg_host_{name}", text, value * factor)
        yield self._gauges("jetseg_host_temperature_celsius", "By thermal zone.", "zone", host.temperatures_c)
        clocks = {unit: megahertz * 1e6 for unit, megahertz in host.clocks_mhz.items()}
        yield self._gauges("jetseg_host_clock_hertz", "Of the fastest CPU core and of the GPU.", "unit", clocks)
        yield self._gauge("jetseg_host_throttled", "1 while the device slows itself down.", float(bool(host.throttled)))

    def _event_counts(self) -> Any:  # noqa: ANN401 - prometheus-client is optional
        labels = ["kind", "severity"]
        family = self._library.metrics_core.CounterMetricFamily("jetseg_events", "Events of the run.", labels=labels)
        with self._lock:
            for key, count in self._counts.items():
                family.add_metric(list(key), count)
        return family

    def _count(self, event: Event) -> None:
        with self._lock:
            self._counts[event.kind, event.severity] += 1

    def _gauge(self, name: str, text: str, value: float) -> Any:  # noqa: ANN401
        return self._library.metrics_core.GaugeMetricFamily(name, text, value=value)

    def _gauges(self, name: str, text: str, label: str, values: Mapping[str, float]) -> Any:  # noqa: ANN401
        """Returns a gauge with several values, told apart by a label."""
        family = self._library.metrics_core.GaugeMetricFamily(name, text, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)
        return family


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields every number of a nested mapping with its path, joined by points.

    Truth values count as 0 and 1; words, and what is absent or endless, are left out.

    >>> list(flat_numbers({"frames": 3, "stage_ms": {"infer": {"p50": 1.5}}, "name": "x", "miou": None}))
    [('frames', 3.0), ('stage_ms.infer.p50', 1.5)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and math.isfinite(value):
            yield f"{prefix}{key}", float(value)
