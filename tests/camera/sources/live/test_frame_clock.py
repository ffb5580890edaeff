import numpy as np
import pytest

from jetseg.camera.sources.live.frame_clock import FrameClock

PERIOD = 1 / 30


class Stream:
    """Feeds a clock; `now` runs with the frames."""

    def __init__(self, nominal=30.0):
        self.clock = FrameClock(nominal)
        self.now = 100.0
        self.stamp = 0.0

    def frame(self, waited=PERIOD, step=PERIOD):
        """Returns the age, at arrival, that the clock gives to the next frame."""
        self.now += waited
        self.stamp += step
        return self.now - self.clock.date(self.now, waited, self.stamp)

    def usual(self, count):
        return [self.frame() for _ in range(count)]


def test_frames_on_time_are_dated_by_arrival():
    assert max(Stream().usual(300)) == 0


@pytest.mark.parametrize("before", [10, 100, 1000])
def test_frames_after_a_pause_of_the_network_are_as_old_as_their_timestamps_tell(before):
    stream = Stream()
    stream.usual(before)
    first = stream.frame(waited=1.5)
    assert first == pytest.approx(1.5 - PERIOD, abs=0.01)
    burst = [stream.frame(waited=0.001) for _ in range(30)]
    expected = [first - (n + 1) * (PERIOD - 0.001) for n in range(30)]
    assert burst == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("bunch", [2, 3, 7])
@pytest.mark.parametrize("before", [30, 100, 1000])
def test_frames_that_always_come_in_bunches_are_no_fresher_after_a_pause(before, bunch):
    stream = Stream()
    for number in range(before):
        stream.frame(waited=0.0 if number % bunch else bunch * PERIOD)
    first = stream.frame(waited=1.5)
    assert first > 1.4
    ages = [stream.frame(waited=0.0 if number % bunch else 0.3 * bunch * PERIOD) for number in range(40)]
    assert ages == pytest.approx([first - (n + 1) * 0.7 * PERIOD for n in range(40)], abs=bunch * PERIOD)


def test_a_slow_burst_does_not_pass_for_the_camera_being_on_time():
    stream = Stream()
    stream.usual(100)
    first = stream.frame(waited=1.5)
    ages = [stream.frame(waited=0.6 * PERIOD) for _ in range(60)]
    assert ages == pytest.approx([first - (n + 1) * 0.4 * PERIOD for n in range(60)], abs=0.01)


def test_a_camera_whose_clock_stood_still_in_a_pause_is_fresh_again_after_three_seconds():
    stream = Stream()
    stream.usual(100)
    assert stream.frame(waited=1.5) > 1
    ages = stream.usual(100)
    assert ages[80] > 1
    assert max(ages[91:]) < 0.01


def test_frames_lost_in_a_pause_do_not_age_the_next_one():
    stream = Stream()
    stream.usual(100)
    assert stream.frame(waited=1.5, step=1.5) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("waited", "step"), [(1 / 12, 1 / 25), (0.2, 0.04), (0.04, 0.0), (0.04, 1 / 30)])
def test_timestamps_at_a_wrong_rate_or_standing_still_age_nothing_for_long(waited, step):
    stream = Stream(nominal=25.0)
    for _ in range(100):
        stream.frame(waited, step)
    assert max(stream.frame(waited, step) for _ in range(200)) == 0


def test_a_reader_that_is_late_by_chance_does_not_pass_for_a_slow_clock():
    rng = np.random.default_rng(0)
    for _ in range(50):
        stream, due = Stream(), 100.0
        for _ in range(rng.integers(20, 200)):
            due += PERIOD
            stream.frame(waited=max(0.0, due + rng.exponential(0.03) - stream.now))
        assert stream.frame(waited=1.5) > 1.3


def test_a_backlog_at_the_beginning_does_not_make_later_frames_fresh():
    stream = Stream()
    for _ in range(40):
        stream.frame(waited=0.7 * PERIOD)
    stream.usual(15)
    assert stream.frame(waited=1.5) == pytest.approx(1.5 - PERIOD, abs=0.01)


@pytest.mark.parametrize("jump", [-5.0, -1e5, 20.0, 1e8])
def test_a_jump_of_the_timestamps_starts_anew(jump):
    stream = Stream()
    stream.usual(50)
    assert stream.frame(step=jump) == 0
    assert max(stream.usual(50)) < 1e-3


def test_two_streams_on_one_address_date_no_frame_into_the_future_or_far_past():
    stream = Stream()
    for _ in range(100):
        assert 0 <= stream.frame(step=1e5) < 0.1
        assert 0 <= stream.frame(step=-1e5) < 0.1


def test_a_hole_in_the_timestamps_is_counted_until_it_is_usual():
    stream = Stream()
    stream.usual(60)
    stream.frame(waited=3 * PERIOD, step=3 * PERIOD)
    assert stream.clock.missing == 2
    stream.frame()
    assert stream.clock.missing == 0
    counts = []
    for _ in range(200):  # the camera halves its rate, as some do in the dark
        stream.frame(2 * PERIOD, 2 * PERIOD)
        counts.append(stream.clock.missing)
    assert counts[-1] == 0


def test_drift_of_the_cameras_clock_does_not_age_frames():
    stream = Stream()
    # never waited for: reading takes most of the interval
    ages = [stream.frame(PERIOD, PERIOD * (1 - 2e-4)) for _ in range(20)]
    for _ in range(30 * 600):
        stream.now += PERIOD
        stream.stamp += PERIOD * (1 - 2e-4)
        ages.append(stream.now - stream.clock.date(stream.now, 0.1 * PERIOD, stream.stamp))
    assert max(ages) < 0.01


@pytest.mark.parametrize("held", [0, 1, 3])
def test_timestamps_that_begin_anew_after_a_pause_tell_of_a_restart(held):
    stream = Stream()
    stream.usual(50)
    assert not stream.clock.restarted
    stream.frame(waited=2.0, step=PERIOD if held else -1.6)
    for number in range(held):
        assert not stream.clock.restarted
        stream.frame(waited=0.01, step=-1.6 if number == held - 1 else PERIOD)
    assert stream.clock.restarted


def test_timestamps_that_begin_anew_without_a_pause_are_those_of_a_film_in_a_loop():
    stream = Stream()
    stream.usual(50)
    stream.frame(step=-1.0)
    assert not stream.clock.restarted


def test_dates_run_forward_and_never_ahead_whatever_the_network_does():
    rng = np.random.default_rng(0)
    stream, latest = Stream(), 0.0
    for _ in range(5000):
        waited = float(rng.choice([0.0005, 0.02, PERIOD, 0.05, 0.3, 1.5], p=[0.2, 0.1, 0.5, 0.15, 0.03, 0.02]))
        step = float(rng.choice([PERIOD, 2 * PERIOD, 1.0], p=[0.95, 0.04, 0.01]))
        age = stream.frame(waited, step)
        assert age >= 0
        assert stream.now - age >= latest
        latest = stream.now - age
