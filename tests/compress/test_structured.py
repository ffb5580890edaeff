"""Structured pruning: the pruned network is the masked dense one, and the settings hold for every layer."""

import contextlib
import copy

import pytest
import torch
from pruned import prune_structured
from torch import nn

from jetseg.compress.groups import PruningGroup
from jetseg.compress.importance import Magnitude, Random, Subject
from jetseg.compress.structured import PruneSettings, choose_counts, kept_channels
from jetseg.errors import ConfigError
from jetseg.models import create_model, fit_shapes_
from jetseg.models.training_heads import training_heads

NETWORKS = {
    "fast-scnn": {"width": 0.5},
    "ddrnet-23-slim": {"width": 8},
    "unet": {"width": 8, "depth": 3},
    "unet-transposed": {"width": 8, "depth": 2, "upsampling": "transposed"},
    "tiny": {"width": 8},
}


def magnitude(copy):
    return Magnitude().channel_importance(Subject(copy))


def random_scores(copy):
    return Random().channel_importance(Subject(copy, seed=3))


IMAGE = torch.randn(1, 3, 96, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def network(name, classes=5):
    """A network in float64 whose batch norms are not the identity."""
    torch.manual_seed(0)
    module = create_model(name.removesuffix("-transposed"), classes, **NETWORKS[name]).eval().double()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
    return module


def masked_dense(module, settings):
    """Zeroes what pruning removes, found by pruning a copy whose weights are their own positions."""
    coded = copy.deepcopy(module)
    for weight in coded.parameters():
        weight.data = torch.arange(weight.numel(), dtype=torch.float64).reshape(weight.shape)
    survivors, _ = prune_structured(coded, settings, IMAGE, random_scores)
    masked = copy.deepcopy(module)
    positions = dict(survivors.named_parameters())
    for name, weight in masked.named_parameters():
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[positions[name].flatten().long()] = True
        weight.data *= mask.reshape(weight.shape)
    return masked


@pytest.mark.long
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training heads"])
@pytest.mark.parametrize("scope", ["layer", "global", "isomorphic"])
@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_network_equals_the_masked_dense_one(name, scope, training):
    settings = PruneSettings(ratio=0.5, scope=scope, round_to=1 if scope == "global" else 4)
    dense = network(name)
    weights = copy.deepcopy(dense.state_dict())
    pruned, _ = prune_structured(dense, settings, IMAGE, random_scores)
    masked = masked_dense(dense, settings)
    heads = training_heads if training else contextlib.nullcontext
    with torch.no_grad(), heads(masked), heads(pruned):
        expected, actual = masked(IMAGE), pruned(IMAGE)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)
    assert sum(p.numel() for p in pruned.parameters()) < 0.5 * sum(p.numel() for p in dense.parameters())
    torch.testing.assert_close(dense.state_dict(), weights, rtol=0, atol=0)

    rebuilt = create_model(name.removesuffix("-transposed"), 5, **NETWORKS[name]).double().eval()
    fit_shapes_(rebuilt, pruned.state_dict())
    rebuilt.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(IMAGE), pruned.eval()(IMAGE))


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("round_to", [8, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_pruned_layer_has_a_rounded_width_or_says_why_not(name, round_to, scope):
    settings = PruneSettings(ratio=0.6, scope=scope, round_to=round_to)
    dense = network(name)
    pruned, changes = prune_structured(dense, settings, IMAGE, magnitude)
    layers = dict(pruned.named_modules())
    for change in changes:
        assert layers[change.name].out_channels == change.after
        if change.after < change.before:
            assert change.after % round_to == 0
            assert not change.note
        elif change.after % round_to:
            assert change.note.startswith(("not a multiple", "kept: makes the output"))
    with torch.no_grad():
        assert pruned(IMAGE).shape == dense(IMAGE).shape


def test_output_is_kept_even_if_inner_layers_have_as_many_channels():
    dense = network("tiny", classes=16)  # stage4 has 16 channels as well
    _, changes = prune_structured(dense, PruneSettings(round_to=4), IMAGE, magnitude)
    by_name = {change.name: change for change in changes}
    assert (by_name["classifier"].after, by_name["classifier"].note) == (16, "kept: makes the output")
    assert by_name["stage4.0.0"].after == 8


def test_layers_kept_on_request_keep_their_partners():
    settings = PruneSettings(round_to=1, keep=("stem", "*16.1.conv1*"))
    _, changes = prune_structured(network("tiny"), settings, IMAGE, magnitude)
    by_name = {change.name: change for change in changes}
    assert by_name["stem.0"].note == by_name["stage16.1.conv1.0"].note == "kept on request"
    assert by_name["reduce.0"].note == "kept: coupled with a layer that is kept"  # added to the stem's output
    assert by_name["stem.0"].after == by_name["reduce.0"].after == 8
    assert by_name["stage16.2.conv1.0"].after == 16
    with pytest.raises(ConfigError, match=r"'stam' matches no layer.*stem\.0"):
        prune_structured(network("tiny"), PruneSettings(keep=("stam",)), IMAGE, magnitude)
    with pytest.raises(ConfigError, match="No layer is left"):
        prune_structured(network("tiny"), PruneSettings(keep=("*",)), IMAGE, magnitude)


def test_global_ranking_spares_layers_that_matter_but_empties_none():
    dense = network("tiny")
    with torch.no_grad():
        for name, layer in dense.named_modules():
            if name.startswith("stage16.1.conv1"):
                for weight in layer.parameters(recurse=False):
                    weight.mul_(1e-6)

    class ByMagnitude:
        """Absolute magnitudes, so that whole layers rank below others."""

        def __call__(self, group):
            return group.slices[0].tensor.abs().flatten(1).sum(1)

    settings = PruneSettings(ratio=0.3, scope="global", round_to=1, max_ratio=0.75)
    _, changes = prune_structured(dense, settings, IMAGE, lambda _: ByMagnitude())
    by_name = {change.name: change for change in changes}
    assert by_name["stage16.1.conv1.0"].after == 8  # a quarter of 32, not 0
    assert all(change.after >= change.before * 0.25 for change in changes)


class Special(nn.Module):
    """Grouped convolution and group norm, or a channel count written into forward."""

    def __init__(self, fixed_count=False):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.plain = nn.Conv2d(16, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.norm = nn.GroupNorm(4, 16)
        self.last = nn.Conv2d(16, 5, 1)
        self.fixed_count = fixed_count

    def forward(self, x):
        x = self.first(x)
        if self.fixed_count:
            x = x * torch.ones(1, 16, 1, 1, dtype=x.dtype)
        return self.last(self.norm(self.grouped(self.plain(x))))


def test_groups_go_as_a_whole():
    pruned, changes = prune_structured(Special().double(), PruneSettings(), IMAGE, magnitude)
    assert (pruned.grouped.groups, pruned.norm.num_groups, pruned.grouped.weight.shape[1]) == (2, 2, 4)
    notes = {change.name: (change.after, change.note) for change in changes}
    assert notes["first"] == (8, "")
    assert notes["plain"] == notes["grouped"] == (8, "")  # two of four groups went, of the convolution and of the norm


def test_layer_that_meets_a_constant_is_kept_and_named():
    _, changes = prune_structured(Special(fixed_count=True).double(), PruneSettings(), IMAGE, magnitude)
    notes = {change.name: (change.after, change.note) for change in changes}
    assert notes["first"] == (16, "kept: meets a constant of the code")
    assert notes["plain"] == (8, "")


@pytest.mark.parametrize(
    ("channels", "removed", "settings", "kept"),
    [
        (64, 32, {"round_to": 8}, 32),
        (64, 60, {"round_to": 8}, 8),
        (64, 64, {"round_to": 1, "max_ratio": 0.75}, 16),
        (20, 10, {"round_to": 8}, 8),
        (20, 8, {"round_to": 8}, 16),
        (20, 2, {"round_to": 8}, 16),
        (6, 3, {"round_to": 8}, 6),
        (3, 3, {"round_to": 1}, 1),
    ],
)
def test_kept_channels(channels, removed, settings, kept):
    assert kept_channels(channels, removed, PruneSettings(**settings)) == kept


class Wiring(nn.Module):
    """Addition, concatenation, depthwise, grouped and transposed convolution, and a module that runs twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.shared = nn.Conv2d(16, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.mix = nn.Conv2d(32, 32, 1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(32, 12, 2, 2)
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        x = self.first(x)
        x = x + self.shared(torch.relu(self.shared(x)))
        x = torch.cat([x, torch.relu(self.depthwise(x))], dim=1)
        return self.last(torch.relu(self.up(torch.relu(self.grouped(self.mix(x))))))


@pytest.mark.parametrize("scope", ["layer", "global", "isomorphic"])
def test_every_kind_of_wiring_equals_the_masked_dense_network(scope):
    torch.manual_seed(0)
    dense = Wiring().double().eval()
    settings = PruneSettings(ratio=0.5, scope=scope, round_to=2)
    pruned, changes = prune_structured(dense, settings, IMAGE, random_scores)
    masked = masked_dense(dense, settings)
    with torch.no_grad():
        torch.testing.assert_close(pruned(IMAGE), masked(IMAGE), rtol=0, atol=1e-9)
    notes = {change.name: change.note for change in changes}
    assert notes["grouped"] == ""
    widths = {name: getattr(pruned, name).out_channels for name in ("first", "shared", "depthwise", "up")}
    assert all(width < getattr(dense, name).out_channels for name, width in widths.items()) or scope != "layer"


def test_isomorphic_ranking_compares_layers_that_are_wired_alike():
    scores = [torch.tensor([1.0, 2, 3, 4]), torch.tensor([5.0, 6, 7, 8]), torch.tensor([100.0, 200, 300, 400])]
    kinds = [("a",), ("a",), ("b",)]
    groups = [
        PruningGroup(str(i), {}, {}, (), kind, own) for i, (own, kind) in enumerate(zip(scores, kinds, strict=True))
    ]
    kept = {
        scope: choose_counts(groups, PruneSettings(ratio=0.5, scope=scope, round_to=1, max_ratio=0.75))
        for scope in ("layer", "global", "isomorphic")
    }
    assert kept == {"layer": [2, 2, 2], "global": [1, 2, 4], "isomorphic": [1, 4, 2]}
