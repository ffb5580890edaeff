"""Pruning to a speed with the real backend: a network that is twice as fast by ONNX Runtime's own time."""

import json

import pytest
from test_prune_stage import DATA, call, save

from jetseg.data.dataset import open_split
from jetseg.network import load_manifest


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["fast-scnn", "ddrnet-23-slim", "unet"])
def test_twice_as_fast_is_measured(name, tmp_path):
    checkpoint = save(tmp_path / "dense.safetensors", open_split(DATA, "train").classes, name)
    outcome = call("prune", checkpoint, "--speedup", 2, "--out", tmp_path / "fast.safetensors", "--json")
    assert outcome.exit_code == 0, outcome.output
    speed = json.loads(outcome.stdout)["speed"]
    assert 1.9 <= speed["parent_ms"] / speed["pruned_ms"] <= 2.2
    assert speed["layers_ms"]
    assert load_manifest(tmp_path / "fast.safetensors").stages[-1].settings["speedup"] == 2
