import numpy as np
import pytest

from jetseg.quantization.observe.histogram import StreamingHistogram
from jetseg.quantization.observe.range_estimators import LEVELS, choose_range, entropy_threshold


def naive_divergence(counts: np.ndarray, kept: int) -> float:
    """The published search for one threshold, bin by bin."""
    reference = counts[:kept].astype(float)
    reference[-1] += counts[kept:].sum()
    quantized = np.zeros(kept)
    for level in range(LEVELS):
        start, stop = level * kept // LEVELS, (level + 1) * kept // LEVELS
        filled = [index for index in range(start, stop) if reference[index] > 0]
        for index in filled:
            quantized[index] = counts[start:stop].sum() / len(filled)
    p, q = reference / reference.sum(), quantized / quantized.sum()
    total = 0.0
    for index in np.flatnonzero(p):
        if q[index] == 0:
            return np.inf
        total += p[index] * np.log(p[index] / q[index])
    return total


@pytest.mark.parametrize("seed", range(4))
def test_entropy_search_equals_the_search_bin_by_bin(seed):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.standard_t(3, 20_000))
    counts, _ = np.histogram(values, bins=400, range=(0, values.max()))
    divergences = [naive_divergence(counts, kept) for kept in range(LEVELS, 401)]
    chosen = round(entropy_threshold(counts.astype(np.float64)) * 400)
    assert divergences[chosen - LEVELS] == pytest.approx(min(divergences), rel=1e-9)


def histogram_of(values: np.ndarray) -> StreamingHistogram:
    histogram = StreamingHistogram("t")
    histogram.update(values.astype(np.float32))
    return histogram


def quantization_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    return float(np.square(np.round(np.clip(values, low, high) / step) * step - values).mean())


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_a_lone_outlier_is_clipped(method):
    values = np.append(np.random.default_rng(0).normal(0, 1, 100_000), 60.0)
    chosen = choose_range(histogram_of(values), method)
    assert chosen.high < 20
    assert chosen.amax < 20
    assert chosen.low >= values.min()


def test_minmax_is_exact_and_contains_zero():
    chosen = choose_range(histogram_of(np.array([0.5, 3.0])), "minmax")
    assert (chosen.low, chosen.high, chosen.amax) == (0.0, 3.0, 3.0)


def test_mse_never_errs_more_than_minmax():
    rng = np.random.default_rng(1)
    for values in (rng.normal(0, 1, 20_000), np.abs(rng.standard_t(3, 20_000)), rng.uniform(-1, 4, 20_000)):
        best = choose_range(histogram_of(values), "mse")
        widest = choose_range(histogram_of(values), "minmax")
        error = quantization_error(values, best.low, best.high)
        assert error <= quantization_error(values, widest.low, widest.high) * 1.001


def test_percentile_leaves_one_in_ten_thousand_on_each_side():
    values = np.random.default_rng(2).normal(0, 1, 400_000)
    chosen = choose_range(histogram_of(values), "percentile")
    assert np.mean(values > chosen.high) == pytest.approx(1e-4, rel=0.3)
    assert np.mean(values < chosen.low) == pytest.approx(1e-4, rel=0.3)
    assert np.mean(np.abs(values) > chosen.amax) == pytest.approx(1e-4, rel=0.3)


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse", "minmax"])
def test_a_tensor_of_zeros_has_an_empty_range(method):
    chosen = choose_range(histogram_of(np.zeros(100)), method)
    assert (chosen.low, chosen.high, chosen.amax) == (0.0, 0.0, 0.0)


def test_a_search_that_refines_finds_what_trying_everything_finds():
    rng = np.random.default_rng(4)
    for values in (rng.normal(0, 1, 20_000), rng.laplace(0, 3, 20_000), np.maximum(rng.standard_t(3, 20_000), 0)):
        widest = float(np.abs(values).max())
        bounds = widest * np.geomspace(1 / 64, 1, 96)
        best = min(quantization_error(values, -bound, bound) for bound in bounds)
        amax = choose_range(histogram_of(values), "mse").amax
        assert quantization_error(values, -amax, amax) <= best * 1.02
