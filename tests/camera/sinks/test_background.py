import threading
import time

import pytest
from results import result

from jetseg.camera.sinks import background
from jetseg.camera.sinks.background import in_background
from jetseg.errors import StorageError
from jetseg.monitor.events import EventLog


class SlowOutput:
    kind = "recording"
    wants_overlay = False

    def __init__(self, delay=0.0, fails=()):
        self.written, self.calls, self.resets, self.closed = [], 0, 0, False
        self._delay, self._fails = delay, set(fails)

    def write(self, result):
        self.calls += 1
        time.sleep(self._delay)
        if self.calls in self._fails:
            raise StorageError("The disk is full.")
        self.written.append(result.frame.sequence)

    def reset(self):
        self.resets += 1

    def close(self):
        self.closed = True


def kinds(events):
    return [event.kind for event in events.recent()]


def test_slow_output_of_a_camera_takes_the_newest_frames_and_no_time_of_the_loop():
    output, events = SlowOutput(delay=0.02), EventLog()
    with in_background(output, events, live=True) as sink:
        started = time.perf_counter()
        for index in range(100):
            sink.write(result(index, 4, 4))
            time.sleep(0.001)
        spent = time.perf_counter() - started
    assert spent < 1.0  # the output alone would have taken two seconds
    assert output.written[-1] == 99
    assert output.written == sorted(output.written)
    assert sink.skipped + len(output.written) == 100
    assert output.closed
    assert not events.recent()


def test_slow_output_of_a_file_gets_every_frame():
    output = SlowOutput(delay=0.002)
    with in_background(output, EventLog(), live=False) as sink:
        for index in range(30):
            sink.write(result(index, 4, 4))
    assert output.written == list(range(30))


def test_failed_output_is_an_event_and_works_again_later():
    output, events = SlowOutput(fails=[3, 4]), EventLog()
    with in_background(output, events, live=False, retry_seconds=0.0) as sink:
        for index in range(8):
            sink.write(result(index, 4, 4))
    assert output.written == [0, 1, 4, 5, 6, 7]
    assert kinds(events) == ["recording-stopped", "recording-resumed"]
    assert "The disk is full." in events.recent()[0].text
    assert output.resets == 2


def test_failed_output_rests():
    output, events = SlowOutput(fails=range(1, 100)), EventLog()
    with in_background(output, events, live=False, retry_seconds=60) as sink:
        for index in range(20):
            sink.write(result(index, 4, 4))
    assert output.calls == 1
    assert kinds(events) == ["recording-stopped"]


def test_output_that_hangs_keeps_neither_the_loop_nor_its_end(monkeypatch):
    monkeypatch.setattr(background, "_CLOSE_SECONDS", 0.1)
    release, events = threading.Event(), EventLog()
    output = SlowOutput()
    output.write = lambda _result: release.wait(20)
    with in_background(output, events, live=True) as sink:
        for index in range(50):
            sink.write(result(index, 4, 4))
    assert kinds(events) == ["recording-stuck"]
    release.set()
    sink._thread.join(5)
    assert not sink._thread.is_alive()


@pytest.mark.parametrize("live", [False, True])
def test_no_thread_is_left(live):
    before = set(threading.enumerate())
    with in_background(SlowOutput(), EventLog(), live=live) as sink:
        sink.write(result(0, 4, 4))
    assert set(threading.enumerate()) == before


class Noting(SlowOutput):
    def __init__(self, **options):
        super().__init__(**options)
        self.notes, self.noted = [], threading.Event()

    def note(self, note):
        self.notes.append(note)
        self.noted.set()
        if len(self.notes) == 1:
            raise StorageError("The disk is full.")


def test_figures_and_events_reach_an_output_without_any_frame_and_failures_are_told():
    output, events, watchers = Noting(), EventLog(), []
    with in_background(output, events, live=True, retry_seconds=0.0, watch=watchers.append) as sink:
        events.add("camera-lost", "alarm", "It is gone.")
        assert output.noted.wait(5)
        output.noted.clear()
        watchers[0]("figures")
        assert output.noted.wait(5)
        sink.write(result(0, 4, 4))
    assert output.notes[0].kind == "camera-lost"
    assert "figures" in output.notes
    assert output.written == [0]
    assert kinds(events)[:2] == ["camera-lost", "recording-stopped"]
    assert "recording-resumed" in kinds(events)


def test_an_output_that_did_not_ask_gets_no_figures_and_no_events():
    output, events = Noting(), EventLog()
    with in_background(output, events, live=True):
        events.add("camera-lost", "alarm", "It is gone.")
    assert not output.notes


def test_an_output_sleeps_until_there_is_something_for_it(monkeypatch):
    looked, noted = [], threading.Event()
    look = background.BackgroundSink._work_off_notes

    def counted(sink):
        looked.append(time.monotonic())
        look(sink)

    class Noting(SlowOutput):
        def note(self, note):
            noted.set()

    monkeypatch.setattr(background.BackgroundSink, "_work_off_notes", counted)
    with in_background(Noting(), EventLog(), live=True) as sink:
        time.sleep(0.5)
        assert looked == []
        sink.note(object())
        assert noted.wait(5)
        sink.write(result(3))
    assert sink._output.written == [3]
