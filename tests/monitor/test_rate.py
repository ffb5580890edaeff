import sys

import numpy as np
import pytest

from jetseg.monitor.rate import FrameRate, LatencyRecord


@pytest.mark.parametrize("scale", [2e-5, 0.03, 12.0])
def test_percentiles_are_within_one_bin_of_the_exact_ones(scale):
    durations = np.random.default_rng(0).lognormal(np.log(scale), 0.7, 20_000)
    record = LatencyRecord()
    for duration in durations:
        record.add(duration)
    exact = np.percentile(durations, [50, 95, 99], method="inverted_cdf") * 1e3
    found = record.percentiles()
    assert np.allclose([found.p50, found.p95, found.p99], exact, rtol=0.0051)
    recent = record.recent_percentiles()
    assert np.isclose(recent.p50, np.percentile(durations[-256:], 50) * 1e3)
    assert record.latest == durations[-1]


def test_memory_does_not_grow_with_the_run():
    record, rate = LatencyRecord(), FrameRate()

    def size():
        return sum(sys.getsizeof(value) for thing in (record, rate) for value in vars(thing).values())

    for index in range(300):
        record.add(0.01)
        rate.add(float(index))
    before = size()
    for index in range(300, 20_000):
        record.add(0.01)
        rate.add(float(index))
    assert size() <= before


def test_extremes_stay_within_what_was_measured():
    record = LatencyRecord()
    for duration in (0.0, 5e-8, 1e6):
        record.add(duration)
    figures = record.percentiles()
    assert 0 <= figures.p50 <= figures.p95 <= figures.p99 <= 1e9


def test_nothing_measured_is_none():
    assert LatencyRecord().percentiles() is None
    assert LatencyRecord().recent_percentiles() is None
    rate = FrameRate()
    rate.add(1.0)
    assert rate.frames_per_second is None


def test_rates_over_the_run_and_over_the_last_frames():
    rate = FrameRate()
    for moment in [*np.arange(0, 100, 1.0), *np.arange(100, 110, 0.1)]:
        rate.add(moment)
    assert np.isclose(rate.frames_per_second, 199 / 109.9)
    assert np.isclose(rate.recent_frames_per_second, 10.0)
