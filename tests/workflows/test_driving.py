"""A run as a function: what it opens, what it gives, and how it ends."""

import threading
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from camera_fakes import ANY_SPEED, Collector, FakeRunner, FakeSource

from jetseg import registry
from jetseg.camera.contract import Source, SourceFrame
from jetseg.camera.sinks.background import in_background
from jetseg.camera.stopping import StopFlag
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError
from jetseg.monitor.events import EventLog
from jetseg.workflows.driving import open_drive, run_camera


class Gray(Source):
    """A source from another package."""

    form = "gray:COUNT"

    def __init__(self, count):
        self.name = f"gray:{count}"
        self._left = count

    @classmethod
    def open(cls, place, context):
        return cls(int(place))

    def read(self):
        self._left -= 1
        return SourceFrame(0, "gray", perf_counter(), np.full((24, 32, 3), 9, np.uint8)) if self._left >= 0 else None


class Shares:
    """A sink from another package."""

    form = "shares:FILE"
    wants_overlay = False

    def __init__(self, file):
        self._file = file

    @classmethod
    @contextmanager
    def open(cls, place, context):
        with Path(place).open("w") as file:
            yield cls(file)

    def write(self, result):
        self._file.write(f"{(result.class_map_hw_u8 == 0).mean()}\n")


class Broken:
    """A sink from another package that works in the background, and fails."""

    form = "broken"
    kind = "broken-sink"
    wants_overlay = False

    @classmethod
    def open(cls, place, context):
        return in_background(cls(), context.events, live=context.live)

    def write(self, result):
        raise OSError("no such place")

    def reset(self):
        pass

    def close(self):
        pass


@pytest.fixture
def _foreign_parts(monkeypatch):
    """Installs a package that brings a source and two sinks."""
    brought = {"jetseg.sources": {"gray": "Gray"}, "jetseg.sinks": {"shares": "Shares", "broken": "Broken"}}
    for name in ("SOURCES", "SINKS"):
        known = getattr(registry, name)
        points = [EntryPoint(key, f"{__name__}:{part}", known.group) for key, part in brought[known.group].items()]
        monkeypatch.setitem(known.__dict__, "_foreign", {point.name: [point] for point in points})
        monkeypatch.setitem(known.__dict__, "_loaded", {})


def drive(**settings):
    return run_camera(Engine(FakeRunner()), speed=ANY_SPEED, **settings)


@pytest.mark.usefixtures("_foreign_parts")
def test_a_source_and_sinks_of_another_package_are_opened_by_name(tmp_path):
    events = EventLog()
    found = drive(source="gray:3", sinks=[f"shares:{tmp_path / 'shares.txt'}", "broken"], events=events)
    assert found.summary.frames == 3
    assert found.conditions["source"] == "gray:3"
    assert (tmp_path / "shares.txt").read_text() == "1.0\n" * 3
    assert [event.kind for event in events.recent()] == ["broken-sink-stopped"]


@pytest.mark.usefixtures("_foreign_parts")
def test_help_and_messages_list_the_parts_of_other_packages():
    assert registry.SOURCES.names()[-1] == "gray"
    with pytest.raises(ConfigError, match=r"'nope' is not a sink\. Known forms: .*shares:FILE"):
        drive(source="gray:1", sinks=["nope:x"])
    with pytest.raises(ConfigError, match="Write it as shares:FILE"):
        drive(source="gray:1", sinks=["shares"])


def test_own_sinks_are_opened_by_name_and_by_setting(tmp_path):
    sinks = [f"video:{tmp_path / 'named.mp4'}", f"class_map_files:{tmp_path / 'named'}"]
    found = drive(source=FakeSource(4), sinks=sinks, output=tmp_path / "set.mp4", class_maps=tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named", "named.mp4", "set", "set.mp4"]
    assert len(list((tmp_path / "named").iterdir())) == len(list((tmp_path / "set").iterdir())) == 4
    assert found.conditions["output"] == str(tmp_path / "set.mp4")


def test_opened_sinks_and_sources_take_part():
    sink, source = Collector(), FakeSource(5)
    found = drive(source=source, sinks=[sink], frames=3, drift=False)
    assert len(sink.results) == found.summary.frames == 3
    assert source.closed
    assert found.as_dict()["shadow"] is None


def test_a_mistake_before_the_run_closes_the_source_and_leaves_no_thread(tmp_path):
    before, source = set(threading.enumerate()), FakeSource(None, live=True)
    with pytest.raises(ConfigError, match=r"\.avi is not an \.mp4 file"):
        drive(source=source, output=tmp_path / "out.avi", log=tmp_path / "log")
    assert source.closed
    assert set(threading.enumerate()) == before
    with pytest.raises(ConfigError, match="alpha"):
        drive(source=source, alpha=2)
    with pytest.raises(ConfigError, match="`ladder` was given without `deadline_ms`"):
        drive(source=source, ladder=["other.onnx"])


def test_figures_can_be_had_after_the_run_failed():
    with (
        pytest.raises(RuntimeError, match="output broke"),
        open_drive(
            Engine(FakeRunner()), source=FakeSource(None), sinks=[Collector(fails_at=5)], speed=ANY_SPEED
        ) as opened,
    ):
        opened.run()
    assert opened.result().summary.frames == 6


def test_a_run_ends_from_outside():
    stop = StopFlag()

    class Stops(Collector):
        def write(self, result):
            super().write(result)
            stop.requested = len(self.results) == 3

    found = drive(source=FakeSource(None), sinks=[Stops()], stop=stop)
    assert 3 <= found.summary.frames < 10
