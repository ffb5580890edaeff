import os
import signal
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from camera_fakes import ANY_SPEED, MANIFEST, BlobDataset, Collector, FakeRunner, FakeSource
from live_fakes import FakeCamera

from jetseg.camera import loop, pipeline
from jetseg.camera.config import LoopConfig
from jetseg.camera.loop import new_statistics
from jetseg.camera.sources.dataset import DatasetSource
from jetseg.camera.sources.live.live_source import LiveSource
from jetseg.camera.sources.paced import PacedSource
from jetseg.camera.stopping import StopFlag, stop_on_signals
from jetseg.engine.engine import Engine
from jetseg.errors import DataError, DeviceError, ManifestError
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.monitor.events import EventLog


def run(source, runner=None, sinks=(), stop=None, speed=ANY_SPEED, **settings):
    runner = runner or FakeRunner()
    statistics = new_statistics(runner, source, engine=speed)
    loop.run_loop(LoopConfig(**settings), runner, source, sinks, statistics=statistics, stop=stop)
    return statistics.summary()


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    threads_before, handlers = set(threading.enumerate()), signal.getsignal(signal.SIGINT)
    opencv_threads = cv2.getNumThreads()
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in threads_before]
    assert not left
    assert signal.getsignal(signal.SIGINT) is handlers
    assert cv2.getNumThreads() == opencv_threads


def test_live_source_stays_fresh_and_every_frame_is_accounted_for():
    sink = Collector()
    source = FakeSource(None, live=True, delay=0.002)
    summary = run(source, FakeRunner(delay=0.03), [sink], frames=40)
    assert summary.frames == 40
    assert summary.dropped > 40
    assert summary.captured == source.given == summary.frames + summary.dropped
    numbers = [result.frame.sequence for result in sink.results]
    assert numbers == sorted(set(numbers))
    # in a queue without bound the age would have grown to the length of the run, over a second
    assert summary.frame_age_ms.p50 < 300


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_consumer_ten_times_slower_than_the_camera_lags_by_no_more_than_its_own_time(seconds):
    camera = FakeCamera()

    class SlowSink(Collector):
        """Also has the camera lie for a fifth of the time."""

        def write(self, result):
            super().write(result)
            camera.corrupt = len(self.results) % 5 == 0

    sink = SlowSink(delay=0.1)
    source = LiveSource("fake", camera.connect, EventLog(), connection=camera.connect())
    summary = run(source, FakeRunner(), [sink], seconds=seconds)
    assert summary.frames >= 0.5 * seconds / 0.1
    assert summary.captured > 5 * summary.frames
    assert summary.captured == summary.frames + summary.dropped + summary.corrupt
    assert sum(summary.dropped_by_cause.values()) == summary.dropped
    assert summary.dropped_by_cause["failure"] == 0
    # the same from the camera's side; whole frames before the first one shown and after the last one add to it
    first, last = sink.results[0].frame.sequence, sink.results[-1].frame.sequence
    assert 0 <= summary.captured - summary.corrupt - (last - first + 1) < 50
    assert summary.corrupt > 0
    assert camera.corrupt_given - summary.corrupt in (0, 1)  # one may come while the run ends
    # one frame may wait for the sink while another is in it; the rest is for a busy machine
    assert summary.frame_age_ms.p99 < 250
    ages = [result.ready_at - result.frame.captured_at for result in sink.results]
    assert max(ages) * 1e3 == pytest.approx(summary.worst_frame_age_ms)
    half = len(ages) // 2
    assert sum(ages[half:]) / (len(ages) - half) < sum(ages[:half]) / half + 0.1


def test_slow_sink_ages_no_frame_of_a_live_source_for_long():
    sink = Collector(delay=0.04)
    summary = run(FakeSource(None, live=True, delay=0.002), FakeRunner(delay=0.002), [sink], frames=25)
    assert summary.captured == summary.frames + summary.dropped
    assert summary.frame_age_ms.p50 < 300


@pytest.mark.parametrize("slow", ["source", "runner", "sink"])
def test_files_lose_no_frame_whichever_stage_is_slow(slow):
    sink = Collector(delay=0.004 if slow == "sink" else 0)
    source = FakeSource(60, delay=0.004 if slow == "source" else 0)
    summary = run(source, FakeRunner(delay=0.004 if slow == "runner" else 0), [sink])
    assert [result.frame.sequence for result in sink.results] == list(range(60))
    assert (summary.frames, summary.captured, summary.dropped) == (60, 60, 0)
    assert source.closed


@pytest.mark.parametrize("reuses_output", [False, True])
def test_class_maps_belong_to_their_frames_even_if_the_runner_overwrites_its_output(reuses_output):
    sink, runner = Collector(delay=0.003), FakeRunner(reuses_output=reuses_output)
    statistics = new_statistics(runner, FakeSource(0), engine=None)
    assert statistics.engine.outputs_stay is not reuses_output
    run(FakeSource(40), runner, [sink], speed=statistics.engine)
    for result in sink.results:
        assert (result.class_map_hw_u8 == result.frame.sequence % 3).all()
        assert result.class_map_hw_u8.shape == (24, 32)


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("capture", RuntimeError),
        ("preprocess", Exception),
        ("infer", RuntimeError),
        ("postprocess", ManifestError),
        ("accuracy", DataError),
        ("output", RuntimeError),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_error_in_any_stage_reaches_the_caller(stage, error, live):
    source = FakeSource(None, live=live, delay=0.001)
    runner, sink = FakeRunner(), Collector()
    if stage == "capture":
        source.fails_at = 5
    elif stage == "preprocess":
        source.bad_images_from = 5
    elif stage == "infer":
        runner = FakeRunner(fails_at=5)
    elif stage == "postprocess":
        runner = FakeRunner(channels=2)
    elif stage == "accuracy":
        source.classes, source.label = MANIFEST.classes, 99
    else:
        sink = Collector(fails_at=5)
    statistics = new_statistics(runner, source, engine=ANY_SPEED)
    with pytest.raises(error, match="broke" if error is RuntimeError else None):
        loop.run_loop(LoopConfig(seconds=20), runner, source, [sink], statistics=statistics)
    assert source.closed
    summary = statistics.summary()
    assert summary.captured == summary.frames + summary.dropped
    assert summary.dropped_by_cause["failure"] == (stage in ("preprocess", "infer", "postprocess"))


@pytest.mark.parametrize(("deadline_ms", "share"), [(1000.0, 0), (5.0, 1), (None, 0)])
def test_frames_older_than_the_deadline_are_counted(deadline_ms, share):
    summary = run(FakeSource(10), FakeRunner(delay=0.01), deadline_ms=deadline_ms)
    assert summary.deadline_misses == 10 * share
    assert summary.deadline_ms == deadline_ms
    assert summary.worst_frame_age_ms >= summary.frame_age_ms.p99 > 9


def test_a_run_whose_camera_is_lost_ends_when_it_is_told_to():
    camera, stop = FakeCamera(), StopFlag()
    source = LiveSource("fake", camera.connect, EventLog(), connection=camera.connect())
    sink = Collector()

    def lose():
        camera.present = False
        time.sleep(0.3)
        stop.requested = True

    timer = threading.Timer(0.3, lose)
    timer.start()
    started = time.perf_counter()
    summary = run(source, FakeRunner(), [sink], stop=stop)
    assert time.perf_counter() - started < 5
    assert summary.captured == summary.frames + summary.dropped > 0
    timer.join()


def test_seconds_end_an_endless_source():
    started = time.perf_counter()
    summary = run(FakeSource(None, live=True, delay=0.005), seconds=0.3)
    assert 0.3 <= time.perf_counter() - started < 3
    assert summary.captured == summary.frames + summary.dropped


def test_frames_end_a_file_without_reading_more_than_that():
    source = FakeSource(None)
    summary = run(source, frames=7)
    assert summary.frames == source.given == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_as_if_the_source_had_ended(number):
    timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
    timer.start()
    stop = StopFlag()
    with stop_on_signals(stop):
        summary = run(FakeSource(None, delay=0.002), FakeRunner(), stop=stop)
    timer.join()
    assert summary.frames > 0
    assert summary.captured == summary.frames + summary.dropped


def test_source_that_hangs_does_not_keep_the_run_from_ending(monkeypatch):
    monkeypatch.setattr(pipeline, "_JOIN_SECONDS", 0.1)
    release, stop = threading.Event(), StopFlag()
    source = FakeSource(None, live=True)
    source.read = lambda: release.wait(20) and None
    threading.Timer(0.1, setattr, (stop, "requested", True)).start()
    with pytest.raises(DeviceError, match="capture stage did not end"):
        run(source, stop=stop)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "jetseg-capture":
            thread.join(5)


def test_miou_is_that_of_the_evaluation():
    dataset = BlobDataset()
    expected = measure_accuracy(Engine(FakeRunner()).segment, MANIFEST, dataset)
    summary = run(DatasetSource(dataset))
    assert summary.miou == expected.miou
    assert summary.per_class_iou == expected.per_class_iou
    assert expected.miou is not None


def test_labels_of_other_classes_are_refused():
    with pytest.raises(DataError, match="blue, green, red; those of fake are road, sky"):
        new_statistics(FakeRunner(), FakeSource(3, classes=("road", "sky")), engine=ANY_SPEED)


def test_paced_source_is_live_and_keeps_its_pace():
    source = PacedSource(FakeSource(21), 100.0)
    summary = run(source, FakeRunner())
    assert source.live
    assert summary.captured == 21
    assert 0.19 < summary.seconds < 3
    assert summary.frame_age_ms.p50 < 150


def test_rate_is_over_the_intervals_between_class_maps():
    summary = run(FakeSource(31), FakeRunner(delay=0.01))
    assert 5 < summary.frames_per_second < 100
    assert set(summary.stage_ms) == {"capture", "preprocess", "infer", "postprocess"}
    assert 9.9 < summary.stage_ms["infer"].p50 < 60


class Overflowing(FakeRunner):
    """Gives NaN or infinity in some frames."""

    def __init__(self, values, **options):
        super().__init__(**options)
        self._values = values

    def infer(self, network_input):
        scores = super().infer(network_input)
        scores[0, 1, 3, 5] = self._values.get(self.calls - 1, scores[0, 1, 3, 5])
        return scores


@pytest.mark.parametrize("reuses_output", [False, True])
def test_scores_that_are_not_finite_raise_an_event_and_are_counted(reuses_output):
    runner = Overflowing({3: np.nan, 4: np.inf, 6: -np.inf}, reuses_output=reuses_output)
    source = FakeSource(12)
    statistics = new_statistics(runner, source, engine=replace(ANY_SPEED, outputs_stay=not reuses_output))
    summary = loop.run_loop(LoopConfig(), runner, source, statistics=statistics).summary()
    assert (summary.frames, summary.frames_not_finite) == (12, 3)
    raised = [event for event in statistics.events.recent() if event.kind == "scores-not-finite"]
    assert [(event.severity, "engine gave scores that are not finite" in event.text) for event in raised] == [
        ("alarm", True)
    ]


def test_finite_scores_raise_none_however_large():
    runner = Overflowing(dict.fromkeys(range(12), 3e38))
    statistics = new_statistics(runner, FakeSource(12), engine=ANY_SPEED)
    assert loop.run_loop(LoopConfig(), runner, FakeSource(12), statistics=statistics).summary().frames_not_finite == 0
    assert statistics.events.recent() == []
