import time
from itertools import groupby

import pytest
from camera_fakes import MANIFEST, Collector, FakeRunner, FakeSource
from live_fakes import kinds

from jetseg.camera import loop
from jetseg.camera.config import LadderConfig, LoopConfig
from jetseg.camera.ladder import Ladder, LadderEngine
from jetseg.camera.loop import new_statistics
from jetseg.camera.sources.paced import PacedSource
from jetseg.errors import ConfigError
from jetseg.manifest import Manifest
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog

DEADLINE = 0.05


def speed(frames_per_second=100.0):
    return EngineSpeed(frames_per_second=frames_per_second, runs=1, outputs_stay=True)


class Drive:
    """Shows a ladder frames at 20 per second without waiting for them."""

    def __init__(self, count=3, rates=(100.0, 100.0, 100.0), **settings):
        self.hot = False
        self.events = EventLog()
        engines = [LadderEngine("ABC"[index], FakeRunner(), speed(rates[index])) for index in range(count)]
        self.ladder = Ladder(engines, self.events, LadderConfig(**settings), lambda: self.hot)
        self.now = 0.0

    def until(self, name, late=False):
        """Returns the seconds until an engine serves."""
        began = self.now
        while self.frames(0.05, late)[-1] != name:
            assert self.now - began < 1000
        return self.now - began

    def frames(self, seconds, late=False):
        """Returns the serving engine after each frame."""
        served = []
        for index in range(round(seconds * 20)):
            self.now += 0.05
            missed = late(index) if callable(late) else late
            self.ladder.observe(self.ladder.serving, self.now, late=missed, deadline_seconds=DEADLINE)
            served.append(self.ladder.serving.name)
        return "".join(served)


def test_it_steps_down_when_half_a_second_of_frames_was_late():
    drive = Drive()
    assert set(drive.frames(5)) == {"A"}
    assert drive.until("B", late=True) == pytest.approx(0.5, abs=0.06)
    event = drive.events.recent()[0]
    assert (event.kind, event.severity) == ("ladder-down", "warning")
    assert {"engine": "B", "before": "A", "reason": "missed deadlines"}.items() <= event.values.items()


def test_it_goes_down_rung_by_rung_and_stays_on_the_last():
    drive = Drive()
    served = drive.frames(6, late=True)
    assert "".join(sorted(set(served))) == "ABC"
    assert served == "".join(sorted(served))
    assert served.endswith("C" * 20)
    assert kinds(drive.events) == ["ladder-down", "ladder-down"]


def test_few_late_frames_change_nothing():
    assert set(Drive().frames(60, late=lambda index: index % 5 == 0)) == {"A"}


def test_it_steps_up_after_calm_and_waits_longer_after_each_vain_attempt():
    drive = Drive(count=2)
    waits = []
    for _ in range(5):
        drive.until("B", late=True)
        waits.append(drive.until("A"))
    assert waits == pytest.approx([10, 20, 40, 80, 160], abs=0.2)
    assert kinds(drive.events) == ["ladder-down", "ladder-up"] * 5


def test_a_step_up_that_lasts_makes_it_patient_no_longer():
    drive = Drive(count=2)
    for _ in range(3):
        drive.until("B", late=True)
        drive.until("A")
    drive.frames(60)
    drive.until("B", late=True)
    assert drive.until("A") == pytest.approx(10, abs=0.2)


def test_late_frames_begin_the_calm_anew():
    drive = Drive(count=2)
    drive.until("B", late=True)
    drive.frames(8)
    drive.frames(0.3, late=True)
    assert 10 < drive.until("A") < 11.5


def test_it_does_not_step_up_to_an_engine_that_alone_is_too_slow():
    drive = Drive(count=2, rates=(15.0, 100.0))
    drive.frames(1.2, late=True)
    assert set(drive.frames(300)) == {"B"}


def test_heat_steps_down_at_once_again_after_cooling_and_blocks_the_way_up():
    drive = Drive(cooling_seconds=20.0)
    drive.frames(1)
    drive.hot = True
    assert drive.frames(0.1)[-1] == "B"
    assert set(drive.frames(19)) == {"B"}
    assert drive.frames(2)[-1] == "C"
    assert set(drive.frames(60)) == {"C"}
    drive.hot = False
    assert drive.frames(11)[-1] == "B"
    assert [event.values["reason"] for event in drive.events.recent()] == ["heat", "heat", "calm"]


def test_frames_of_an_engine_that_no_longer_serves_tell_nothing():
    drive = Drive()
    first = drive.ladder.engines[0]
    drive.frames(1.2, late=True)
    for _ in range(100):
        drive.now += 0.05
        drive.ladder.observe(first, drive.now, late=True, deadline_seconds=DEADLINE)
    assert drive.ladder.serving.name == "B"


def test_engines_of_other_classes_or_named_twice_are_refused():
    other = FakeRunner()
    other.manifest = Manifest.model_validate({"classes": ["a", "b"], "input": {"height": 24, "width": 32}})
    with pytest.raises(ConfigError, match="classes of B are not those of A"):
        Ladder([LadderEngine("A", FakeRunner(), speed()), LadderEngine("B", other, speed())])
    with pytest.raises(ConfigError, match="names an engine twice"):
        Ladder([LadderEngine("A", FakeRunner(), speed()), LadderEngine("A", FakeRunner(), speed())])


class LoadedRunner(FakeRunner):
    """Slows down when there is load on the machine, by as much as its own work."""

    def __init__(self, work, load, height, width):
        super().__init__()
        self.manifest = MANIFEST.model_copy(
            update={"input": MANIFEST.input.model_copy(update={"height": height, "width": width})}
        )
        self._work = work
        self._load = load
        self.served = []

    def infer(self, network_input):
        assert network_input.shape[2:] == (self.manifest.input.height, self.manifest.input.width)
        time.sleep(self._work * self._load["factor"])
        return super().infer(network_input)


@pytest.mark.long
@pytest.mark.parametrize("live", [True, False])
def test_under_load_a_lighter_engine_keeps_the_deadline_and_no_frame_is_lost_to_the_change(live):
    load = {"factor": 1.0}
    best, lightest = LoadedRunner(0.03, load, 24, 32), LoadedRunner(0.003, load, 12, 16)
    source = PacedSource(FakeSource(None), 25.0) if live else FakeSource(230, delay=0.035)
    events, moments = EventLog(), {}
    events.listen(lambda event: moments.setdefault(event.kind, time.perf_counter()))
    statistics = new_statistics(best, source, engine=speed(30.0), events=events)
    engines = [LadderEngine("best", best, speed(30.0)), LadderEngine("lightest", lightest, speed(300.0))]
    ladder = Ladder(engines, events, LadderConfig(calm_seconds=2.5))
    started = time.perf_counter()

    class Load(Collector):
        """Puts load on the machine from the second on, until a second after the change."""

        def write(self, result):
            super().write(result)
            now = time.perf_counter()
            if "on" not in moments and now > started + 1.0:
                moments["on"] = now
                load["factor"] = 8.0
            elif "off" not in moments and now > moments.get("ladder-down", now) + 1.0:
                moments["off"] = now
                load["factor"] = 1.0

    sink = Load()
    loop.run_loop(LoopConfig(deadline_ms=150, seconds=7), best, source, [sink], statistics=statistics, ladder=ladder)
    summary = statistics.summary()
    assert kinds(events) == ["ladder-down", "ladder-up"]
    assert moments["on"] < moments["ladder-down"] < moments["on"] + 2.0
    assert moments["off"] < moments["ladder-up"] < moments["off"] + 3.5
    assert summary.captured == summary.frames + summary.dropped
    assert summary.dropped_by_cause["failure"] == 0
    numbers = [result.frame.sequence for result in sink.results]
    assert numbers == (sorted(set(numbers)) if live else list(range(len(numbers))))
    # class maps belong to their frames, whichever engine made them
    for result in sink.results:
        assert (result.class_map_hw_u8 == result.frame.sequence % 3).all()
    served = ["best" if result.class_map_hw_u8.shape == (24, 32) else "lightest" for result in sink.results]
    assert [name for name, _ in groupby(served)] == ["best", "lightest", "best"]
    assert summary.frames_by_engine == {name: served.count(name) for name in ("best", "lightest")}
    ages = [result.ready_at - result.frame.captured_at for result in sink.results]
    kept = [age for age, name in zip(ages, served, strict=True) if name == "lightest"][2:]
    assert sum(age > 0.15 for age in kept) <= 0.1 * len(kept)
