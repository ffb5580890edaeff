"""Unstructured pruning: exact sparsity, reproducible, permanent."""

import copy
from functools import partial

import pytest
import torch
from torch.nn.modules.conv import _ConvNd

from jetseg.compress.importance import Activation, Magnitude, Random, Subject
from jetseg.compress.structured import PruneSettings
from jetseg.compress.unstructured import prune_unstructured
from jetseg.errors import ConfigError
from jetseg.models import create_model


def scorer(name, module, **given):
    """What scores weights, as the stage makes it."""
    criterion = {"magnitude": Magnitude, "random": Random, "activation": Activation}[name]()
    return partial(criterion.weight_scores, Subject(module, **given))


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return create_model("tiny", 5, width=8)


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_half_of_every_convolution_is_zero(dense, criterion):
    weights = copy.deepcopy(dense.state_dict())
    pruned, changes = prune_unstructured(dense, PruneSettings(ratio=0.5), scorer(criterion, dense, seed=1))
    assert {change.name for change in changes} == {
        name for name, layer in dense.named_modules() if isinstance(layer, _ConvNd)
    }
    for change in changes:
        before, after = dense.get_submodule(change.name).weight, pruned.get_submodule(change.name).weight
        assert change.before == before.numel()
        assert change.after == torch.count_nonzero(after) == before.numel() // 2
        zeroed = after == 0
        assert torch.equal(after[~zeroed], before[~zeroed])
        if criterion == "magnitude":
            assert before[zeroed].abs().max() <= before[~zeroed].abs().min()
    assert set(pruned.state_dict()) == set(weights)  # no masks are left behind
    torch.testing.assert_close(dense.state_dict(), weights, rtol=0, atol=0)


def test_random_choice_follows_the_seed_and_leaves_the_global_one_alone(dense):
    before = torch.get_rng_state()
    same, again, other = (
        prune_unstructured(dense, PruneSettings(), scorer("random", dense, seed=seed))[0].state_dict()["stem.0.weight"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(same, again)
    assert not torch.equal(same, other)
    assert torch.equal(before, torch.get_rng_state())


def test_global_magnitude_has_one_threshold(dense):
    settings = PruneSettings(ratio=0.7, scope="global", keep=("classifier",))
    pruned, changes = prune_unstructured(dense, settings, scorer("magnitude", dense))
    *body, head = changes
    assert (head.after, head.note) == (head.before, "kept on request")
    assert sum(change.after for change in body) == pytest.approx(0.3 * sum(change.before for change in body), abs=1)
    smallest, largest = [], []
    for change in body:
        before, after = dense.get_submodule(change.name).weight, pruned.get_submodule(change.name).weight
        smallest.append(after[after != 0].abs().min())
        largest.append(before[after == 0].abs().max())
    assert max(largest) <= min(smallest)


def test_nothing_left_to_prune(dense):
    with pytest.raises(ConfigError, match="No convolution is left"):
        prune_unstructured(dense, PruneSettings(keep=("*",)), scorer("random", dense))


def test_threshold_zeroes_what_is_smaller(dense):
    pruned, changes = prune_unstructured(
        dense, PruneSettings(keep=("stem",)), scorer("magnitude", dense), threshold=0.1
    )
    for change in changes:
        before, after = dense.get_submodule(change.name).weight, pruned.get_submodule(change.name).weight
        expected = before if change.note else torch.where(before.abs() >= 0.1, before, 0.0)
        assert torch.equal(after, expected)
    assert sum(change.after < change.before for change in changes) > 10


def test_weights_that_meet_small_values_go_first():
    module = torch.nn.ModuleDict({"plain": torch.nn.Conv2d(4, 2, 1), "up": torch.nn.ConvTranspose2d(4, 2, 1, groups=2)})
    for layer in module.values():
        torch.nn.init.ones_(layer.weight)
    module.forward = lambda x: (module["plain"](x), module["up"](x))
    image = torch.tensor([0.1, 3.0, -2.0, 0.2]).reshape(1, 4, 1, 1).expand(2, 4, 3, 3)
    score = scorer("activation", module, batches=[(image, torch.zeros(2, 3, 3))])
    pruned, _ = prune_unstructured(module, PruneSettings(ratio=0.5), score)
    assert (pruned["plain"].weight != 0).flatten(1).tolist() == [[False, True, True, False]] * 2
    assert (pruned["up"].weight != 0).flatten().tolist() == [False, True, True, False]
