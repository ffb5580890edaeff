"""Weights from elsewhere: prefixes come off, what is not the network's is left out and told, misfits are refused."""

import pytest
import torch

from jetseg.errors import ArtifactError
from jetseg.models import create_model
from jetseg.training.plain_weights import import_state_dict


@pytest.fixture
def state():
    torch.manual_seed(7)
    return create_model("tiny", 3, width=8).state_dict()


def load(state, tmp_path):
    torch.save(state, tmp_path / "net.pth")
    fresh = create_model("tiny", 3, width=8)
    return import_state_dict(tmp_path / "net.pth", fresh), fresh.state_dict()


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.module.", "student.backbone.net."])
@pytest.mark.parametrize(
    "others", [{}, {"loss.weight": 4}, {"criterion.class_weights": 4, "train_metrics.confusion": 9}]
)
def test_a_prefix_and_tensors_of_training_are_taken_off(tmp_path, state, prefix, others, caplog):
    content = {**{name: torch.ones(size) for name, size in others.items()}, **prefixed(prefix, state)}
    imported, loaded = load({"state_dict": content, "epoch": 3}, tmp_path)
    assert (imported.prefix, imported.ignored) == (prefix, tuple(others))
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
    for said in (*filter(None, [prefix]), *others):
        assert said in caplog.text
    assert bool(caplog.text) == bool(prefix or others)


def test_what_stands_beside_the_prefix_is_left_out(tmp_path, state):
    content = {**prefixed("model.", state), "teacher.weight": torch.ones(3), "step": torch.tensor(1)}
    imported, _ = load(content, tmp_path)
    assert imported.ignored == ("teacher.weight", "step")
    assert str(imported) == (
        "the prefix 'model.' was taken off the names; 2 tensors beside the network ignored: teacher.weight, step"
    )


def test_a_network_that_is_there_twice_is_not_guessed(tmp_path, state):
    with pytest.raises(ArtifactError, match=r"several times, under 'ema\.', 'model\.'"):
        load({**prefixed("model.", state), **prefixed("ema.", state)}, tmp_path)


def test_weights_inside_the_prefix_that_the_network_lacks_are_refused(tmp_path, state):
    with pytest.raises(ArtifactError, match=r"unexpected: decoder\.weight"):
        load({**prefixed("model.", state), "model.decoder.weight": torch.ones(3)}, tmp_path)
    with pytest.raises(ArtifactError, match=r"unexpected: decoder\.weight"):
        load({**state, "decoder.weight": torch.ones(3)}, tmp_path)


def test_missing_weights_are_refused_behind_a_prefix_too(tmp_path, state):
    del state["classifier.bias"]
    with pytest.raises(ArtifactError, match=r"missing: classifier\.bias"):
        load({**prefixed("model.", state), "loss.weight": torch.ones(3)}, tmp_path)
