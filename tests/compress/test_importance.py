"""Criteria find planted unimportant channels, and score as defined."""

from functools import partial

import pytest
import torch
from pruned import prune_structured
from test_prune_stage import save
from torch import nn

from jetseg.compress import torch_pruning_group
from jetseg.compress.config import PruneConfig
from jetseg.compress.groups import PruningGroup
from jetseg.compress.importance import (
    Activation,
    BatchNormScale,
    Criterion,
    Magnitude,
    Random,
    Subject,
    Taylor,
    make_criterion,
)
from jetseg.compress.structured import PruneSettings
from jetseg.compress.unstructured import prune_unstructured
from jetseg.config import validate_config
from jetseg.errors import ConfigError
from jetseg.registry import CRITERIA
from jetseg.workflows.pruning import prune

DEAD = [1, 4, 6, 7]
IMAGE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
BATCHES = [(IMAGE, torch.randint(0, 3, (2, 16, 16), dtype=torch.uint8)) for _ in range(2)]


def planted():
    """A network in which the channels DEAD of the first layer add nothing to the output."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1)).eval()
    with torch.no_grad():
        module[1].weight[DEAD] = 0
        module[1].bias[DEAD] = 0
        module[3].weight[:, DEAD] *= 1e-3
        module[0].weight[DEAD] *= 1e-3
    return module


@pytest.mark.parametrize(
    "make",
    [
        lambda copy: Magnitude().channel_importance(Subject(copy, norm=1)),
        lambda copy: Magnitude().channel_importance(Subject(copy)),
        lambda copy: BatchNormScale().channel_importance(Subject(copy)),
        lambda copy: Taylor().channel_importance(Subject(copy, BATCHES)),
        lambda copy: Activation().channel_importance(Subject(copy, BATCHES)),
    ],
    ids=["l1", "l2", "bn-scale", "taylor", "activation"],
)
def test_dead_channels_go_first(make):
    dense = planted()
    pruned, _ = prune_structured(dense, PruneSettings(ratio=0.5, round_to=1), IMAGE, make)
    alive = [channel for channel in range(8) if channel not in DEAD]
    torch.testing.assert_close(pruned[0].weight, dense[0].weight[alive])
    torch.testing.assert_close(pruned(IMAGE), dense(IMAGE))
    assert all(parameter.grad is None for parameter in pruned.parameters())


class TwoReaders(nn.Module):
    """Channels that two layers read, one of them behind a concatenation, with a gate on each channel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 4, 3, padding=1)
        self.last = nn.Conv2d(10, 3, 1)
        self.seen = []

    def forward(self, x, gate=1.0):
        x = torch.relu(self.first(x)) * gate
        self.seen = [x]
        y = torch.tanh(self.middle(x))
        return self.last(torch.cat([y, x], dim=1))


def scores_of(module, make, layer="first"):
    """Scores that the criterion gives to the channels of a layer."""
    found = {}

    def remember(copy):
        criterion = make(copy)

        def score(group):
            found[group.root] = criterion(group)
            return found[group.root]

        return score

    prune_structured(module, PruneSettings(round_to=1), IMAGE, remember)
    return found[layer]


def test_taylor_is_the_derivative_by_a_gate_on_the_channel():
    torch.manual_seed(0)
    module = TwoReaders().eval()
    actual = scores_of(module, lambda copy: Taylor().channel_importance(Subject(copy, BATCHES, ignore_index=2)))
    expected = torch.zeros(6)
    for images, labels in BATCHES:
        for frame in range(2):
            gate = torch.ones(1, 6, 1, 1, requires_grad=True)
            logits = module(images[frame : frame + 1], gate)
            nn.functional.cross_entropy(logits, labels[frame : frame + 1].long(), ignore_index=2).backward()
            expected += gate.grad.flatten().abs() / 4
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_activation_is_the_mean_absolute_value_that_is_read():
    torch.manual_seed(0)
    module = TwoReaders().eval()
    with torch.no_grad():
        module(IMAGE)
    expected = module.seen[0].mean(dim=(0, 2, 3))
    actual = scores_of(module, lambda copy: Activation().channel_importance(Subject(copy, BATCHES)))
    torch.testing.assert_close(actual, expected / expected.mean())


def random_of(seed):
    return lambda copy: Random().channel_importance(Subject(copy, seed=seed))


def test_random_follows_its_seed():
    kept = [prune_structured(planted(), PruneSettings(), IMAGE, random_of(seed))[0][0].weight for seed in (5, 5)]
    assert torch.equal(kept[0], kept[1])
    group = PruningGroup("stem", {}, {}, (), scores=torch.zeros(64))
    assert not torch.equal(random_of(5)(None)(group), random_of(6)(None)(group))


class Spread(Criterion):
    """Weights are worth how far they are from their layer's mean."""

    methods = ("unstructured",)

    def weight_scores(self, subject, layers):
        return {name: (layer.weight - layer.weight.mean()).detach().abs() for name, layer in layers.items()}


@pytest.fixture
def registered(monkeypatch):
    """Registers a criterion under the name spread; returns what puts another part in its place."""
    monkeypatch.setitem(CRITERIA.own, "spread", "nowhere:Spread")

    def put(part):
        monkeypatch.setitem(CRITERIA._loaded, "spread", part)

    put(Spread)
    return put


def test_a_criterion_of_another_package_decides_which_weights_go(registered):
    assert PruneConfig(method="unstructured", criterion="spread").scored_by(data=False) == "spread"
    criterion = make_criterion("spread", "unstructured", frames=False)
    module = planted()
    score = partial(criterion.weight_scores, Subject(module))
    pruned, _ = prune_unstructured(module, PruneSettings(ratio=0.25), score)
    weight = module[0].weight.detach()
    nearest = (weight - weight.mean()).abs().flatten().argsort()[: weight.numel() // 4]
    assert sorted(nearest.tolist()) == torch.nonzero(pruned[0].weight.flatten() == 0).flatten().tolist()


def test_a_criterion_that_does_not_fit_is_refused(registered):
    with pytest.raises(ConfigError, match="spread does not go with `method` structured, which takes magnitude, bn-"):
        make_criterion("spread", "structured", frames=True)
    with pytest.raises(ConfigError, match="`criterion` taylor looks at frames"):
        make_criterion("taylor", "structured", frames=False)
    with pytest.raises(ConfigError, match=r"no pruning criterion spraed: choose from magnitude.*, spread"):
        validate_config(PruneConfig, {"criterion": "spraed"})
    registered(object)
    with pytest.raises(ConfigError, match="spread is no Criterion"):
        make_criterion("spread", "unstructured", frames=True)


class Careless(Criterion):
    """Scores of another shape than what they score."""

    methods = ("structured", "unstructured")

    def channel_importance(self, subject):
        return lambda group: torch.ones(group.size + 1)

    def weight_scores(self, subject, layers):
        return {name: layer.weight.detach().abs().mean() for name, layer in layers.items()}


def test_scores_of_another_shape_are_refused(registered, tmp_path):
    registered(Careless)
    path = save(tmp_path / "dense.safetensors", ("road", "sky"), width=8)
    with pytest.raises(ConfigError, match=r"scores of shape \(\d+,\) for the \d+ channels of"):
        prune(path, criterion="spread")
    with pytest.raises(ConfigError, match="no score for each weight of stem"):
        prune(path, criterion="spread", method="unstructured")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dense.safetensors", "dense.safetensors.json"]


def test_a_criterion_that_reads_items_of_torch_pruning_still_works_and_is_told(caplog, monkeypatch):
    monkeypatch.setattr(torch_pruning_group, "_told", [])

    def spread(group):
        root, reader = group[0], next(item for item in group if "in_channels" in item.dep.handler.__name__)
        assert len(root.idxs) == len(root.root_idxs) == len(reader.idxs) == group.size
        return root.dep.target.module.weight.detach().flatten(1).std(dim=1)

    expected = prune_structured(planted(), PruneSettings(), IMAGE, lambda _: spread)[0]
    again = prune_structured(
        planted(), PruneSettings(), IMAGE, lambda _: lambda group: group.slices[0].tensor.flatten(1).std(dim=1)
    )[0]
    for old, new in zip(expected.parameters(), again.parameters(), strict=True):
        assert torch.equal(old, new)
    assert len([record for record in caplog.records if "ends with jetseg 0.4" in record.message]) == 1
