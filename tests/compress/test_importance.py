"""Criteria find planted unimportant channels, and score as defined."""

import pytest
import torch
from torch import nn

from jetseg.compress.importance import ActivationImportance, RandomImportance, magnitude, taylor
from jetseg.compress.structured import PruneSettings, prune_structured

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
        lambda _: magnitude(1),
        lambda _: magnitude(2),
        lambda module: taylor(module, BATCHES, ignore_index=None),
        lambda module: ActivationImportance(module, BATCHES),
    ],
    ids=["l1", "l2", "taylor", "activation"],
)
def test_dead_channels_go_first(make):
    dense = planted()
    pruned, _ = prune_structured(dense, PruneSettings(ratio=0.5, round_to=1), IMAGE, make)
    alive = [channel for channel in range(8) if channel not in DEAD]
    torch.testing.assert_close(pruned[0].weight, dense[0].weight[alive])
    torch.testing.assert_close(pruned(IMAGE), dense(IMAGE))
    assert all(parameter.grad is None for parameter in pruned.parameters())


def test_activation_is_the_mean_absolute_output_of_batch_norm():
    module = planted()
    score = ActivationImportance(module, BATCHES)
    with torch.no_grad():
        expected = 2 * module[1](module[0](IMAGE)).abs().mean(dim=(0, 2, 3))
    torch.testing.assert_close(score._sums[module[1]], expected)


def test_taylor_averages_absolute_gradients():
    module = planted()
    taylor(module, BATCHES, ignore_index=None)
    averaged = module[3].weight.grad.clone()
    expected = torch.zeros_like(averaged)
    for images, labels in BATCHES:
        module.zero_grad()
        nn.functional.cross_entropy(module(images), labels.long()).backward()
        expected += module[3].weight.grad.abs()
    torch.testing.assert_close(averaged, expected)


def test_random_follows_its_seed():
    kept = [
        prune_structured(planted(), PruneSettings(), IMAGE, lambda _, s=seed: RandomImportance(s))[0][0].weight
        for seed in (5, 5)
    ]
    assert torch.equal(kept[0], kept[1])
    group = [type("Item", (), {"idxs": list(range(64))})]
    assert not torch.equal(RandomImportance(5)(group), RandomImportance(6)(group))
