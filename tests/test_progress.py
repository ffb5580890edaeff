"""Progress is told to whoever listens."""

import threading

import pytest

from jetseg.progress import current_listener, report_progress, start_task, task, track


def test_a_listener_follows_begin_steps_and_end():
    told = []

    def listen(running):
        told.append((running.description, running.done, running.total, running.note))

    with report_progress(listen), task("Reading", 2) as running:
        running.update(advance=1)
        running.update(done=2, note="nearly")
    assert told == [
        ("Reading", 0, 2, ""),
        ("Reading", 1, 2, ""),
        ("Reading", 2, 2, "nearly"),
        ("Reading", 2, 2, "nearly"),
    ]


def test_a_task_ends_also_when_the_work_fails():
    told = []
    with pytest.raises(ZeroDivisionError), report_progress(lambda running: told.append(running.finished)):
        for number in track([1, 0], "Dividing"):
            _ = 1 / number
    assert told == [False, False, True]


def test_without_a_listener_nothing_happens_and_none_keeps_the_one_outside():
    assert list(track(iter("ab"), "Reading")) == ["a", "b"]
    told = []
    with report_progress(told.append), report_progress(None):
        list(track("a", "Reading"))
    assert told
    assert current_listener() is None


def test_another_thread_goes_on_with_a_task():
    told = []
    with report_progress(lambda running: told.append(running.done)):
        begun = start_task("Writing", 1)
    worker = threading.Thread(target=lambda: (begun.update(advance=1), begun.finish()))
    worker.start()
    worker.join()
    assert told == [0, 1, 1]


def test_an_exception_of_the_listener_ends_the_work():
    def stop(_task):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), report_progress(stop):
        list(track("ab", "Reading"))
