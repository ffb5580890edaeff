import numpy as np
import pytest

from jetseg.errors import CalibrationError
from jetseg.quantization.observe.histogram import BINS, MOST_VALUES, StreamingHistogram


def test_growing_ranges_lose_no_count_and_equal_one_histogram_over_everything():
    rng = np.random.default_rng(0)
    # magnitudes that are powers of two: the streamed bin edges then coincide with those of one pass
    batches = [np.concatenate([rng.uniform(-reach, reach, 4000), [reach]]) for reach in (0.5, 2.0, 1.0, 8.0)]
    streamed = StreamingHistogram("t")
    for batch in batches:
        streamed.update(batch.astype(np.float32).reshape(1, -1, 1, 1))
    everything = np.concatenate(batches).astype(np.float32)
    expected, _ = np.histogram(everything, bins=2 * BINS, range=(-8.0, 8.0))
    assert streamed.reach == 8.0
    assert streamed.counts.sum() == everything.size
    assert np.abs(np.cumsum(streamed.counts) - np.cumsum(expected)).max() <= 2
    assert (streamed.low, streamed.high) == (everything.min(), everything.max())


def test_zeros_before_values_are_kept():
    histogram = StreamingHistogram("t")
    histogram.update(np.zeros(10, dtype=np.float32))
    histogram.update(np.array([1.0, -0.25], dtype=np.float32))
    assert histogram.counts.sum() == 12
    assert histogram.counts[BINS] == 10
    assert histogram.magnitudes().sum() == 12
    assert histogram.magnitudes()[-1] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor(bad):
    with pytest.raises(CalibrationError, match="layer3/relu"):
        StreamingHistogram("layer3/relu").update(np.array([0.0, bad, 1.0], dtype=np.float32))


def test_of_large_tensors_a_sample_is_counted_and_others_each_time():
    """Ends are exact, shares are those of all values, and no place is left out for good."""
    values = np.random.default_rng(1).normal(size=3 * MOST_VALUES).astype(np.float32)
    histogram = StreamingHistogram("t")
    for _ in range(3):
        low, high = histogram.update(values)
    assert (low, high) == (values.min(), values.max())
    assert histogram.counts.sum() == values.size
    whole, _ = np.histogram(values, bins=2 * BINS, range=(-histogram.reach, histogram.reach))
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(whole)).max() <= 8  # float32 at the borders of bins


@pytest.mark.parametrize("size", [1e-40, 1e38])
def test_values_near_the_ends_of_float32_are_counted(size):
    histogram = StreamingHistogram("t")
    for factor in (1, 3):
        histogram.update(np.float32([-size * factor, 0.0, size * factor]))
    assert histogram.counts.sum() == 6
    assert histogram.counts[BINS] >= 2
