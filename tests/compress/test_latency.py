"""Latency-aware pruning: the knapsack against brute force, prediction against the pruned network, the search."""

import itertools

import pytest
import torch
from torch import nn

from jetseg.compress.importance import Magnitude, Subject
from jetseg.compress.latency import NetworkLatency, _choices, _losses, allocate
from jetseg.compress.layers import layer_shapes
from jetseg.compress.speed import prune_to_speed, search_amount
from jetseg.compress.structured import Pruner, PruneSettings
from jetseg.errors import ConfigError, QualityError
from jetseg.models import create_model
from jetseg.onnx.layer_shape import LayerShape

NETWORKS = {
    "fast-scnn": {"width": 0.5},
    "ddrnet-23-slim": {"width": 8},
    "unet": {"width": 8, "depth": 3, "upsampling": "transposed"},
    "tiny": {"width": 16},
}
IMAGE = torch.zeros(1, 3, 64, 96)
SETTINGS = PruneSettings(round_to=4)


def cost_ms(shape):
    """A device on which a layer takes as long as its multiply-accumulates, and moving its output."""
    height, width = shape.output_size
    values = shape.out_channels * height * width
    taps = shape.in_channels // shape.groups * shape.kernel[0] * shape.kernel[1]
    return 1e-6 * values * taps + 1e-5 * values


def time_layers(pieces):
    return [sum(map(cost_ms, piece)) for piece in pieces]


class Device:
    """Measures a network as the sum of its layers, its other operators and what a factor says."""

    def __init__(self, factor=1.0, overhead_ms=0.0):
        self.factor, self.overhead_ms = factor, overhead_ms

    def layers_ms(self, pieces):
        return time_layers(pieces)

    source = "measured"

    def networks_ms(self, networks):
        totals = []
        for network in networks:
            shapes = layer_shapes(network.eval(), IMAGE)
            layers = sum(cost_ms(shape) for runs in shapes.values() for shape in runs)
            totals.append(self.factor * layers + self.overhead_ms)
        return totals


def pruner_of(name):
    torch.manual_seed(0)
    return Pruner(
        create_model(name, 5, **NETWORKS[name]).eval(),
        (),
        IMAGE,
        lambda copy: Magnitude().channel_importance(Subject(copy)),
    )


def latency_of(pruner, round_to=4):
    (network_ms,) = Device().networks_ms([pruner.module])
    return NetworkLatency(pruner.module, IMAGE, pruner.groups, time_layers, round_to, network_ms)


@pytest.mark.parametrize("name", NETWORKS)
def test_prediction_follows_channels_through_additions_and_concatenations(name):
    pruner = pruner_of(name)
    latency = latency_of(pruner)
    full = [len(candidate.scores) for candidate in pruner.groups]
    assert latency.total_ms(full) == pytest.approx(Device().networks_ms([pruner.module])[0], rel=1e-6)
    kept = [max(4, count // 2 // 4 * 4) for count in full]
    pruned, _ = pruner.prune(kept, 4)
    assert latency.total_ms(kept) == pytest.approx(Device().networks_ms([pruned])[0], rel=1e-6)


def test_allocation_is_close_to_the_best_of_all():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 1, 1), nn.ReLU(), nn.Conv2d(24, 12, 1)]
    module = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(12, 5, 1)).eval()
    pruner = Pruner(module, (), IMAGE, lambda copy: Magnitude().channel_importance(Subject(copy)))
    latency = latency_of(pruner)
    full = [len(candidate.scores) for candidate in pruner.groups]
    losses = [_losses(candidate.scores, 3.0) for candidate in pruner.groups]
    choices = [_choices(count, SETTINGS) for count in full]

    def loss(kept):
        return sum(own[count] for own, count in zip(losses, kept, strict=True))

    for fraction in (0.8, 0.5, 0.3):
        target = fraction * latency.total_ms(full)
        kept = allocate(pruner.groups, latency, SETTINGS, target)
        best = min(loss(other) for other in itertools.product(*choices) if latency.total_ms(other) <= target)
        assert latency.total_ms(kept) <= target
        assert loss(kept) <= 1.2 * best
        assert all(count in own for count, own in zip(kept, choices, strict=True))


def test_a_channel_that_costs_more_goes_first():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.MaxPool2d(4), nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 5, 1))
    pruner = Pruner(module.eval(), (), IMAGE, lambda copy: Magnitude().channel_importance(Subject(copy)))
    latency = latency_of(pruner)
    kept = dict(
        zip(
            [c.root for c in pruner.groups],
            allocate(pruner.groups, latency, SETTINGS, 0.7 * latency.total_ms([16, 16])),
            strict=True,
        )
    )
    assert kept["0"] < kept["2"] == 16


def test_evenness_keeps_layers_alike_in_width():
    pruner = pruner_of("tiny")
    latency = latency_of(pruner)
    full = [len(candidate.scores) for candidate in pruner.groups]

    def spread(evenness):
        settings = PruneSettings(round_to=4, max_ratio=0.9, evenness=evenness)
        kept = allocate(pruner.groups, latency, settings, 0.5 * latency.total_ms(full))
        left = [count / whole for count, whole in zip(kept, full, strict=True)]
        return max(left) - min(left)

    assert spread(0.0) > spread(3.0) >= spread(10.0)


def test_no_group_is_emptied_beyond_its_limit():
    pruner = pruner_of("tiny")
    kept = allocate(pruner.groups, latency_of(pruner), PruneSettings(round_to=4, max_ratio=0.5), 0.0)
    assert all(count == len(c.scores) // 2 for count, c in zip(kept, pruner.groups, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("by_latency", [True, False])
@pytest.mark.parametrize(
    "device", [Device(), Device(1.7), Device(0.6, overhead_ms=0.3)], ids=["exact", "slow", "overhead"]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_twice_as_fast_lands_in_the_band_even_where_the_table_is_wrong(name, device, by_latency):
    pruner = pruner_of(name)
    settings = PruneSettings(round_to=4 if by_latency else 1)
    pruned, changes, report = prune_to_speed(pruner, settings, device, 2.0, by_latency=by_latency)
    before, after = device.networks_ms([pruner.module, pruned])
    assert 1.9 <= before / after <= 2.2
    assert report.speedup == pytest.approx(before / after)
    assert report.trials[-1].measured == report.speedup
    assert bool(report.layers_ms) == by_latency
    assert all(change.after % settings.round_to == 0 or change.note for change in changes)


@pytest.mark.long
def test_importance_is_lost_less_than_by_thinning_all_layers_alike():
    pruner = pruner_of("fast-scnn")
    losses = {}
    for by_latency in (True, False):
        _, changes, _ = prune_to_speed(pruner, PruneSettings(round_to=1), Device(), 2.0, by_latency=by_latency)
        after = {change.name: change.after for change in changes}
        losses[by_latency] = sum(_losses(c.scores, 3.0)[after[c.root]] for c in pruner.groups)
    assert losses[True] < losses[False]


def test_what_cannot_be_reached_is_said():
    with pytest.raises(ConfigError, match=r"cannot be made 50 times as fast: \d"):
        prune_to_speed(pruner_of("tiny"), SETTINGS, Device(overhead_ms=0.5), 50.0, by_latency=True)
    steps = iter([1.0, 3.0] * 10)
    with pytest.raises(QualityError, match="measured: 1.00, 3.00"):
        search_amount(lambda _: next(steps), 2.0, 0.5, 0.9)


def test_shared_layers_count_each_time_they_run():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
            self.line = nn.Linear(3, 2)

        def forward(self, x):
            x = self.conv(nn.functional.avg_pool2d(self.conv(x), 2))
            return self.line(x.mean((2, 3)))

    shapes = layer_shapes(Twice().eval(), IMAGE)
    conv = {"kernel": (3, 3), "padding": (2, 2), "dilation": (2, 2)}
    assert shapes["conv"] == (LayerShape(3, 3, 64, 96, **conv), LayerShape(3, 3, 32, 48, **conv))
    assert shapes["line"] == (LayerShape(3, 2, 1, 1),)
