"""Where a child's features leave its parent's, on networks that share their first layers."""

import numpy as np
import onnx
import pytest
from colored import manifest, weights, write_network, write_shapes
from onnx import helper

from jetseg.data.dataset import open_split
from jetseg.explanation.causes.features import effects_of_features, similarity
from jetseg.explanation.causes.trials import Trials
from jetseg.onnx.graph import Graph


@pytest.fixture
def trials(tmp_path):
    split = open_split(write_shapes(tmp_path / "shapes", frames=4), "all")
    return Trials(manifest(), manifest(), split, [0, 1, 2], "sign", 1)


def test_the_stage_where_they_part_is_named(trials, tmp_path):
    rng = np.random.default_rng(0)
    parent = Graph(onnx.load(str(write_network(tmp_path / "parent.onnx"))))
    other = weights()
    other["network.decide.weight"] = rng.normal(size=other["network.decide.weight"].shape)
    child = Graph(onnx.load(str(write_network(tmp_path / "child.onnx", other))))
    child.insert_before(child.nodes[0], helper.make_node("Identity", ["image"], ["same"]))  # wired differently
    effects = effects_of_features(parent, child, trials)
    assert effects.causes[0].layer == "scores"
    assert not effects.causes[0].proven
    assert effects.causes[1].similarity == pytest.approx(1.0, abs=1e-4)
    assert effects.causes[0].similarity < 0.95
    assert "from layer decide on what it computes is no longer" in effects.causes[0].words


def test_similarity_is_that_of_the_kernels():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(40, 3)), rng.normal(size=(40, 5))
    center = np.eye(40) - 1 / 40
    kernels = [center @ values @ values.T @ center for values in (first, second)]
    expected = (kernels[0] * kernels[1]).sum() / np.linalg.norm(kernels[0]) / np.linalg.norm(kernels[1])
    assert similarity(first, second) == pytest.approx(expected)
    assert similarity(first, np.zeros((40, 2))) == 0.0
