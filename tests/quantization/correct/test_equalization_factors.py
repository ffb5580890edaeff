"""Factors of channels are chosen by the noise that layers read."""

import numpy as np

from jetseg.quantization.correct.channel_groups import ChannelGroups
from jetseg.quantization.correct.equalization_factors import Reading, balance


def groups_of(count: int, fixed: tuple[int, ...] = ()) -> ChannelGroups:
    held = np.zeros(count, dtype=bool)
    held[list(fixed)] = True
    return ChannelGroups(count, {}, held)


def noise(layer: Reading, factors: np.ndarray) -> float:
    step = (layer.ranges / factors[layer.source]).max()
    return float(step**2 * (layer.gains * factors[layer.read] ** 2).sum() / (layer.gains * layer.ranges**2).sum())


def test_channels_of_one_layer_get_nearly_the_same_range():
    channels = np.arange(4)
    layer = Reading(channels, np.array([0.1, 1.0, 2.0, 8.0]), channels, np.array([5.0, 1.0, 3.0, 0.5]))
    least = noise(layer, layer.ranges)  # all the same
    assert noise(layer, np.ones(4)) > 10 * least
    assert noise(layer, balance([layer], groups_of(4), np.ones(4))) < 1.2 * least


def test_tensors_that_share_factors_are_weighed_against_each_other():
    channels = np.arange(2)
    one = Reading(channels, np.array([1.0, 10.0]), channels, np.array([1.0, 1.0]))
    other = Reading(channels, np.array([10.0, 1.0]), channels, np.array([1.0, 1e-4]))
    evened = np.array([10.0, 10.0])  # by the wider of both
    found = balance([one, other], groups_of(2), evened)
    losses = [noise(one, factors) + noise(other, factors) for factors in (found, evened)]
    assert losses[0] < 0.9 * losses[1]


def test_fixed_factors_stay():
    channels = np.arange(3)
    layer = Reading(channels, np.array([0.1, 1.0, 4.0]), channels, np.ones(3))
    found = balance([layer], groups_of(3, fixed=(2,)), np.ones(3))
    assert found[2] == 1.0
    assert found[0] < 0.1 < found[1] < 0.5
