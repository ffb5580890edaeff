import sys
from time import perf_counter, sleep

import pytest

from jetseg.errors import MissingDependencyError
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.metrics import Metrics
from jetseg.monitor.observer import Observer
from jetseg.monitor.statistics import LoopStatistics

ANY_SPEED = EngineSpeed(frames_per_second=100.0, runs=1, outputs_stay=True)


@pytest.fixture
def statistics():
    statistics = LoopStatistics(ANY_SPEED)
    now = perf_counter()
    for index in range(4):
        statistics.add_class_map(now + index * 0.01 - 0.02, now + index * 0.01)
        statistics.stages["infer"].add(0.008)
    return statistics


def test_rate_falls_to_zero_when_frames_stop(statistics, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("jetseg.monitor.observer.perf_counter", lambda: clock[0])
    observer = Observer(statistics)
    for _ in range(8):
        clock[0] += 0.5
        for _ in range(15):
            statistics.add_class_map(clock[0] - 0.01, clock[0])
        seen = observer.observe()
    assert seen.frames_per_second == pytest.approx(30.0)
    assert seen.since_last_frame_s == 0
    for _ in range(8):
        clock[0] += 0.5
        seen = observer.observe()
    assert seen.frames_per_second == 0
    assert seen.since_last_frame_s == 4.0


def test_listener_gets_every_observation(statistics):
    seen = []
    observer = Observer(statistics, period_seconds=0.01)
    observer.listen(seen.append)
    with observer:
        until = perf_counter() + 10
        while len(seen) < 3 and perf_counter() < until:
            sleep(0.005)
    assert len(seen) >= 3
    assert seen[-1].frame_age_ms["p50"] == pytest.approx(20.0)
    assert seen[-1].stage_ms == {"infer": pytest.approx(8.0)}


def test_figures_that_cannot_be_read_are_one_event_and_come_back(statistics):
    answers = iter([{}, {"a": 1}] + [None] * 3 + [{"a": 2}] * 1000)

    def further():
        if (answer := next(answers)) is None:
            raise RuntimeError("dictionary changed size during iteration")
        return answer

    seen = []
    observer = Observer(statistics, further=further, period_seconds=0.005)
    observer.listen(seen.append)
    with observer:
        until = perf_counter() + 10
        while not (seen and seen[-1].further == {"a": 2}) and perf_counter() < until:
            sleep(0.005)
    assert seen[-1].further == {"a": 2}
    assert [event.kind for event in statistics.events.recent()] == ["figures-failed"]


def test_metrics_can_be_scraped(statistics):
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    statistics.events.add("camera-lost", "alarm", "gone")
    metrics = Metrics(statistics.events)
    metrics.show(Observer(statistics, further=lambda: {"drift": {"blur": 1.5, "active": ["blur"]}}))
    for _ in range(3):
        statistics.events.add("camera-lost", "alarm", "gone")
    content, kind = metrics.page()
    assert kind.startswith("text/plain")
    families = parser.text_string_to_metric_families(content.decode())
    found = {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
    assert found["jetseg_frames_total",] == 4
    assert found["jetseg_run", "drift.blur"] == 1.5
    assert found["jetseg_frame_age_seconds", "0.99"] == pytest.approx(0.02)
    assert found["jetseg_stage_seconds", "infer"] == pytest.approx(0.008)
    assert found["jetseg_events_total", "camera-lost", "alarm"] == 3
    assert found["jetseg_run", "seconds"] > 0
    assert not any("miou" in name for name, *_ in found)


def test_the_estimate_has_metrics_of_its_own(statistics):
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    empty = {"window": None, "miou": None, "low": None, "high": None, "per_class_iou": None}
    interval = {"value": 80.0, "low": 70.0, "high": 90.0}
    full = {"window": 3, "miou": 50.0, "low": 40.0, "high": 65.0, "per_class_iou": {"sky": interval, "car": None}}
    metrics = Metrics(statistics.events)
    found = {}
    for estimate in (empty, full):
        metrics.show(Observer(statistics, further=lambda estimate=estimate: {"estimate": estimate}))
        families = parser.text_string_to_metric_families(metrics.page()[0].decode())
        samples = [(s.name, s.labels, s.value) for family in families for s in family.samples if "estimate" in s.name]
        found[estimate["window"]] = {(name, *sorted(labels.values())): value for name, labels, value in samples}
    assert found[None] == {}
    assert found[3] == {
        ("jetseg_estimated_miou_ratio", "low"): 0.4,
        ("jetseg_estimated_miou_ratio", "miou"): 0.5,
        ("jetseg_estimated_miou_ratio", "high"): 0.65,
        ("jetseg_estimated_iou_ratio", "low", "sky"): 0.7,
        ("jetseg_estimated_iou_ratio", "sky", "value"): 0.8,
        ("jetseg_estimated_iou_ratio", "high", "sky"): 0.9,
    }


def test_missing_library_is_named(statistics, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingDependencyError, match=r"\[dashboard\]"):
        Metrics(statistics.events)
