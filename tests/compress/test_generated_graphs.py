"""However a network is wired: what pruning leaves of it is right by value, or kept and named."""

import copy

import pytest
import torch
from graphs import WIRED, build
from pruned import prune_structured

from jetseg.compress.importance import Random, Subject
from jetseg.compress.structured import PruneSettings
from jetseg.exporters.onnx_export import export_module
from jetseg.models import fit_shapes_
from jetseg.models.stated_sizes import state_sizes_, stated_sizes
from jetseg.onnx.session import make_session

IMAGE = torch.randn(1, 3, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SCALE = 1 << 14
KEPT = {
    "every other channel": {"a.0": "kept: every other channel is read"},
    "permuted by numbers": {"a.0": "kept: read by numbers of the code"},
    "sorted": {"a.0": "kept: read by sort"},
    "spatial gate": {"stem.0": "kept: reduced over its channels", "gate": "kept: the only one"},
    "sum of what is not zero without its channel": {"q": "kept: without these channels, others would change"},
    "one map for all channels": {"gate": "kept: the only one"},
    "shuffled groups": dict.fromkeys(("stem.0", "a.0", "b.0"), "kept: grouped convolution"),
    "weight norm": {"stem.0": "kept: its weights are normalized together"},
    "old weight norm": {"stem.0": "kept: its weights are normalized together"},
    "root mean square by hand": {"stem.0": "kept: reduced over its channels"},
    "softmax over channels": {"a.0": "kept: runs over its channels"},
    "encoder layer of torch": dict.fromkeys(
        ("stem.0", "layer.self_attn.out_proj", "layer.linear2"), "kept: normalized together by a layer norm"
    ),
    "constant": {"a.0": "kept: meets a constant of the code"},
    "layer norm": dict.fromkeys(("stem.0", "down"), "kept: normalized together by a layer norm"),
}
"""What is not pruned, and why; everything else loses half."""


def scores(seed):
    return lambda copy: Random().channel_importance(Subject(copy, seed=seed))


def masked_dense(module, settings, seed):
    """Zeroes what pruning removes, found by pruning a copy whose weights are their own positions."""
    coded = copy.deepcopy(module)
    for weight in coded.parameters():
        weight.data = torch.arange(1, weight.numel() + 1, dtype=torch.float64).reshape(weight.shape) / SCALE
    positions = dict(prune_structured(coded, settings, IMAGE, scores(seed))[0].named_parameters())
    masked = copy.deepcopy(module)
    for name, weight in masked.named_parameters():
        mask = torch.zeros(weight.numel(), dtype=torch.float64)
        mask[(positions[name] * SCALE).flatten().long() - 1] = 1
        if not name.endswith(("original1", "weight_v")):  # a direction, whose length is masked
            weight.data *= mask.reshape(weight.shape)
    return masked


@pytest.mark.parametrize("name", WIRED)
def test_pruned_network_equals_the_masked_dense_one_or_says_what_is_kept(name):
    dense = build(name).double()
    settings = PruneSettings(ratio=0.5, round_to=1)
    pruned, changes = prune_structured(dense, settings, IMAGE, scores(3))
    masked = masked_dense(dense, settings, 3)
    with torch.no_grad():
        expected, actual, before = masked(IMAGE), pruned(IMAGE), dense(IMAGE)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-7 * float(expected.max() - expected.min()))
    assert (actual - before).abs().max() > 1e-3  # something was removed that mattered

    kept = {change.name: change.note for change in changes if change.note and change.name != "head"}
    assert kept == KEPT.get(name, {})
    for change in changes:
        if change.name not in kept and change.name != "head":
            assert change.after <= 0.57 * change.before

    rebuilt = build(name).double()
    fit_shapes_(rebuilt, pruned.state_dict())
    rebuilt.load_state_dict(pruned.state_dict())
    state_sizes_(rebuilt, stated_sizes(pruned))
    with torch.no_grad():
        assert torch.equal(rebuilt(IMAGE), actual)
        half = IMAGE[..., :16]  # another size of input, where the network takes one
        if name not in ("positional embedding", "attention in windows", "class token"):
            torch.testing.assert_close(rebuilt(half), masked(half), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["attention that states the stream's channels", "shuffle, stated", "chunk", "roll"])
def test_pruned_twice_and_trained(name):
    once, _ = prune_structured(build(name).double(), PruneSettings(ratio=0.5, round_to=1), IMAGE, scores(3))
    twice, changes = prune_structured(once, PruneSettings(ratio=0.5, round_to=1), IMAGE, scores(4))
    assert sum(change.after for change in changes) < 0.6 * sum(change.before for change in changes)
    twice.train()(IMAGE).square().mean().backward()
    assert all(weight.grad is not None for weight in twice.parameters())
    rebuilt = build(name).double()
    fit_shapes_(rebuilt, twice.state_dict())
    rebuilt.load_state_dict(twice.state_dict())
    state_sizes_(rebuilt, stated_sizes(twice))
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(IMAGE), twice.eval()(IMAGE))


@pytest.mark.long
@pytest.mark.parametrize("name", ["attention that states the stream's channels", "split in equal parts, stated"])
def test_pruned_code_that_states_its_channels_is_exported(name):
    image = IMAGE.float()
    pruned, _ = prune_structured(build(name), PruneSettings(ratio=0.5, round_to=1), image, scores(3))
    assert stated_sizes(pruned)
    model = export_module(pruned.requires_grad_(False), image, "logits")
    session = make_session(model.SerializeToString(), threads=1)
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), pruned(image), rtol=1e-4, atol=1e-5)
