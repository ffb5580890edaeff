"""A start that hangs is given up, and only that."""

import time
from threading import Event

from jetseg.camera.starting import StartWatch
from jetseg.camera.stopping import StopFlag


def watched(bound, stop=None):
    given_up, gone = Event(), []

    def give_up(error):
        gone.append(str(error))
        given_up.set()

    return StartWatch(bound, stop or StopFlag(), give_up), given_up, gone


def test_an_engine_that_does_not_come_back_is_given_up():
    watch, given_up, gone = watched(0.3)
    with watch:
        watch.beat()
        assert given_up.wait(10)
    assert gone[0].startswith("The timing stage stopped: it has not come back for")


def test_runs_that_come_back_and_slow_opening_go_on():
    watch, given_up, _ = watched(0.5)
    with watch:
        watch.open("source", float("inf"))
        for _ in range(8):
            time.sleep(0.1)  # an engine at work
            watch.beat()
        watch.end()
        assert not given_up.wait(1.0)


def test_whoever_asked_to_stop_does_not_wait_for_what_hangs(monkeypatch):
    monkeypatch.setattr("jetseg.camera.starting._SECONDS_TO_STOP", 0.2)
    stop = StopFlag()
    watch, given_up, gone = watched(60.0, stop)
    with watch:
        stop.requested = True
        assert given_up.wait(10)
    assert gone[0].startswith("The opening of the engine stage stopped")
