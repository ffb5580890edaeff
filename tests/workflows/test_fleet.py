"""Several cameras on one engine: each as if alone, fair, and none takes another down."""

import json
import threading
import time
from dataclasses import replace
from threading import Thread
from time import perf_counter
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from camera_fakes import ANY_SPEED, FakeRunner, FakeSource

from jetseg.camera.cameras import named_sources, settings_of, sink_of
from jetseg.camera.channel import Channel, ChannelClosed
from jetseg.camera.config import RunConfig
from jetseg.camera.sinks.ring import RingReader
from jetseg.camera.sources.paced import PacedSource
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turns
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError, DataError, StageStoppedError
from jetseg.monitor.events import EventLog
from jetseg.workflows.cameras import open_fleet, run_cameras
from jetseg.workflows.driving import run_camera


class NoisySource(FakeSource):
    """Frames of noise, of which no two cameras have the same."""

    def __init__(self, length, seed, **options):
        super().__init__(length, **options)
        self._rng = np.random.default_rng(seed)

    def read(self):
        frame = super().read()
        if frame is not None:
            image = self._rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            object.__setattr__(frame, "image_hwc_u8", image)
        return frame


def run(sources, runner=None, **settings):
    return run_cameras(Engine(runner or FakeRunner()), **{"sources": sources, "speed": ANY_SPEED, **settings})


def class_maps(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("reuses_output", [False, True])
def test_each_camera_gets_the_class_maps_that_it_gets_alone(tmp_path, count, reuses_output):
    def runner():
        return FakeRunner(0.001, reuses_output=reuses_output)

    speed = replace(ANY_SPEED, outputs_stay=not reuses_output)
    together = run(
        {f"camera{number}": NoisySource(20, number) for number in range(count)},
        runner(),
        speed=speed,
        class_maps=tmp_path / "together",
    )
    for number in range(count):
        alone = tmp_path / f"alone{number}"
        run_camera(Engine(runner()), source=NoisySource(20, number), speed=speed, class_maps=alone)
        maps = class_maps(alone)
        assert len(set(maps)) == len(maps) == 20
        assert class_maps(tmp_path / "together" / f"camera{number}") == maps
    assert [found.summary.frames for found in together.cameras.values()] == [20] * count
    assert together.as_dict()["frames"] == 20 * count
    assert together.errors == {}


def test_cameras_share_a_slow_engine_fairly_and_use_all_of_it():
    sources = {f"camera{number}": PacedSource(FakeSource(None), 60) for number in range(4)}
    found = run(sources, FakeRunner(0.01), seconds=1.5)
    frames = [camera.summary.frames for camera in found.cameras.values()]
    ages = [camera.summary.frame_age_ms.p50 for camera in found.cameras.values()]
    assert max(frames) <= 1.15 * min(frames), frames
    assert max(ages) <= 2 * min(ages), ages
    assert found.frames_per_second > 50, "the engine alone makes 100"
    assert all(camera.summary.dropped for camera in found.cameras.values())


def test_a_slow_camera_gets_all_that_it_needs_beside_a_fast_one():
    found = run(
        {"fast": FakeSource(None, live=True), "slow": PacedSource(FakeSource(None), 20)}, FakeRunner(0.01), seconds=1
    )
    slow = found.cameras["slow"].summary
    assert slow.frames >= slow.captured - 3
    assert found.cameras["fast"].summary.frames > 30


def test_a_camera_that_dies_takes_no_other_down():
    events = EventLog()
    sources = {"good": FakeSource(60, delay=0.005), "bad": FakeSource(60, fails_at=3)}
    found = run(sources, events=events)
    assert found.cameras["good"].summary.frames == 60
    assert found.errors == {"bad": "capture broke"}
    (failed,) = [event for event in events.recent() if event.kind == "camera-failed"]
    assert failed.values["camera"] == "bad"
    assert failed.text.startswith("bad: ")


def test_a_camera_that_hangs_takes_no_other_down():
    released, gave_up = threading.Event(), []

    class Hanging(FakeSource):
        def read(self):
            if self.given == 2:
                released.wait()
            return super().read()

    with open_fleet(
        Engine(FakeRunner()),
        sources={"good": FakeSource(100, delay=0.02), "hung": Hanging(10)},
        speed=ANY_SPEED,
        watchdog_seconds=0.5,
    ) as fleet:
        fleet.run(give_up=gave_up.append)
        released.set()
    assert fleet.result().cameras["good"].summary.frames == 100
    assert isinstance(fleet.errors["hung"], StageStoppedError)


def test_an_engine_that_hangs_ends_all():
    released, gave_up = threading.Event(), []

    class Hanging(FakeRunner):
        def infer(self, network_input):
            if self.calls == 20:
                released.wait()
            return super().infer(network_input)

    with (
        open_fleet(
            Engine(Hanging()),
            sources={"one": FakeSource(None), "two": FakeSource(None)},
            speed=ANY_SPEED,
            watchdog_seconds=0.5,
        ) as fleet,
        pytest.raises(StageStoppedError, match="infer"),
    ):
        fleet.run(give_up=gave_up.append)
    released.set()
    assert [error.stage for error in gave_up][:1] == ["infer"]


def test_the_error_is_raised_when_every_camera_failed():
    with pytest.raises(RuntimeError, match="capture broke"):
        run({"one": FakeSource(9, fails_at=1), "two": FakeSource(9, fails_at=2)})


def test_a_stop_ends_all():
    stop = StopFlag()
    Thread(target=lambda: (time.sleep(0.3), setattr(stop, "requested", True))).start()
    began = perf_counter()
    found = run(
        {"one": FakeSource(None, live=True, delay=0.01), "two": FakeSource(None, live=True, delay=0.01)}, stop=stop
    )
    assert perf_counter() - began < 5
    assert all(camera.summary.frames for camera in found.cameras.values())


def test_one_dashboard_and_one_metrics_page_show_all(tmp_path):
    sources = {"front": FakeSource(None, live=True, delay=0.01), "rear": FakeSource(None, live=True, delay=0.01)}
    with open_fleet(
        Engine(FakeRunner()), sources=sources, speed=ANY_SPEED, dashboard=0, metrics=0, ring=f"fleet-{tmp_path.name}"
    ) as fleet:
        loop = Thread(target=fleet.run)
        loop.start()
        try:
            metrics, dashboard = (page.server.url for page in fleet.pages)
            until = perf_counter() + 10
            while perf_counter() < until:
                briefs = json.load(urlopen(f"{dashboard}cameras"))
                if all(brief["fps"] for brief in briefs.values()):
                    break
                time.sleep(0.1)
            assert list(briefs) == ["front", "rear"]
            states = [json.load(urlopen(f"{dashboard}state?camera={name}")) for name in sources]
            assert [state["title"]["source"] for state in states] == ["front: fake", "rear: fake"]
            assert urlopen(f"{dashboard}picture?camera=rear&other_than=-1").headers["X-Sequence"]
            with pytest.raises(HTTPError):
                urlopen(f"{dashboard}state?camera=left")
            page = urlopen(f"{metrics}metrics").read().decode()
            assert page.count("# TYPE jetseg_frames_total counter") == 1
            assert all(f'jetseg_frames_total{{camera="{name}"}}' in page for name in sources)
            assert page.count("\njetseg_host_cpu_ratio ") == 1
            rings = [RingReader(f"fleet-{tmp_path.name}-{name}") for name in sources]
            assert all(ring.newest() is not None for ring in rings)
        finally:
            fleet.stop.requested = True
            loop.join(20)


def test_outputs_of_each_camera_go_to_places_of_their_own(tmp_path):
    config = RunConfig(
        record=tmp_path / "{camera}" / "drives",
        output=tmp_path / "drive.mp4",
        log=tmp_path / "run.jsonl",
        publish="tcp://127.0.0.1:5556",
        foxglove=8765,
        ros2="/seg",
    )
    front, rear = (settings_of(config, name, number) for number, name in enumerate(["front", "rear"]))
    assert front.record == tmp_path / "front" / "drives"
    assert rear.output == tmp_path / "drive-rear.mp4"
    assert rear.log == tmp_path / "run-rear.jsonl"
    assert (front.publish, rear.publish) == ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5557")
    assert (front.foxglove, rear.foxglove) == (8765, 8766)
    assert rear.ros2 == "/seg/rear"
    assert sink_of("ring:{camera}-maps", "rear") == "ring:rear-maps"
    with pytest.raises(ConfigError, match="several cameras"):
        sink_of("ring:maps", "rear")
    with pytest.raises(ConfigError, match="dashboard"):
        settings_of(RunConfig(show=True), "front", 0)


def test_sources_have_names(tmp_path):
    odd = tmp_path / "a=b.mp4"
    odd.touch()
    assert named_sources(["front=0", str(odd), "rtsp://h/x?a=b"]) == {
        "front": "0",
        "camera2": str(odd),
        "camera3": "rtsp://h/x?a=b",
    }
    with pytest.raises(ConfigError, match="Two sources are called front"):
        named_sources(["front=0", "front=1"])


def test_a_source_that_cannot_be_opened_closes_those_before_it(tmp_path):
    first = FakeSource(9)
    with pytest.raises(DataError, match="does not exist"):
        run({"one": first, "two": str(tmp_path / "none.mp4")})
    assert first.closed


def test_who_waits_for_its_turn_hears_that_its_frames_ended():
    turns, mine, other = Turns(), Channel(1, latest=True), Channel(1, latest=True)
    mine.put(1)
    other.put(2)
    with turns.join().frame(mine):
        Thread(target=lambda: (time.sleep(0.1), other.abandon())).start()
        with pytest.raises(ChannelClosed), turns.join().frame(other):
            pass
