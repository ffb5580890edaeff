import numpy as np
import pytest
from small_network import write_dataset, write_small_network

from jetseg.data.dataset import Dataset
from jetseg.errors import CalibrationError
from jetseg.network import open_network
from jetseg.quantization.observe.histogram import StreamingHistogram
from jetseg.quantization.observe.observer import Observed, _add, observe
from jetseg.quantization.qdq.placement import observed_tensors


def test_looking_at_channels_finds_the_same_ranges(tmp_path):
    """The extremes of a tensor are taken from those of its channels, where these were asked for."""
    network = open_network(write_small_network(tmp_path))
    split = Dataset(write_dataset(tmp_path / "data", frames=4)).split("all")
    graph = network.float_graph()
    whole, by_channel = (
        observe(
            graph,
            observed_tensors(graph),
            network.manifest,
            network.image_input,
            (split[place].image_hwc_u8 for place in range(4)),
            by_channel=by_channel,
        )
        for by_channel in (False, True)
    )
    assert whole.amax_by_frame == by_channel.amax_by_frame
    assert not whole.channel_low
    for name, histogram in whole.histograms.items():
        other = by_channel.histograms[name]
        assert (histogram.low, histogram.high) == (other.low, other.high)
        np.testing.assert_array_equal(histogram.counts, other.counts)


def test_a_value_that_is_not_finite_is_found_in_any_channel():
    seen = Observed({"x": StreamingHistogram("x")}, {"x": []}, {}, {})
    values = np.ones((1, 3, 4, 5), np.float32)
    values[0, 1, 2, 3] = np.nan
    with pytest.raises(CalibrationError, match="Tensor x"):
        _add(seen, "x", values, 1)
