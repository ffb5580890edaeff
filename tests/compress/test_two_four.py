"""2:4 sparsity: the right zeros, kept through fine-tuning, export and int8, and checked in the file."""

import json
from itertools import combinations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from test_prune_stage import DATA, call, save
from torch import nn

from jetseg.compress.two_four import prune_two_four, two_four_mask
from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError, QualityError
from jetseg.evaluation.sparsity import graph_sparsity, gzip_bytes, layer_sparsity


def test_the_best_two_of_four_stay():
    torch.manual_seed(0)
    weight = torch.randn(3, 8, 3, 2)
    kept = (weight * two_four_mask(weight)).abs()
    for out, start, row, column in np.ndindex(3, 2, 3, 2):
        four = weight[out, 4 * start : 4 * start + 4, row, column].abs()
        best = max(sum(pair) for pair in combinations(four.tolist(), 2))
        own = kept[out, 4 * start : 4 * start + 4, row, column]
        assert torch.count_nonzero(own) == 2
        assert float(own.sum()) == pytest.approx(best)


def test_layers_that_cannot_are_named():
    module = nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 8, 3),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8),
            "plain": nn.Conv2d(8, 8, 3),
            "up": nn.ConvTranspose2d(8, 8, 2),
            "kept": nn.Conv2d(8, 8, 1),
            "line": nn.Linear(8, 2),
        }
    )
    pruned, changes = prune_two_four(module, keep=("kept",))
    notes = {change.name: change.note for change in changes}
    assert notes == {
        "stem": "cannot: 3 input channels are not a multiple of 4",
        "depthwise": "cannot: grouped convolution",
        "plain": "",
        "up": "cannot: transposed convolution",
        "kept": "kept on request",
        "line": "",
    }
    for change in changes:
        dense = torch.equal(pruned[change.name].weight, module[change.name].weight)
        assert dense == bool(change.note)
        assert change.after == (change.before if change.note else change.before // 2)
    with pytest.raises(ConfigError, match="No layer is left"):
        prune_two_four(module, keep=("plain", "line", "kept"))


@pytest.mark.long
def test_zeros_survive_fine_tuning_export_and_int8(tmp_path):
    checkpoint = save(tmp_path / "dense.safetensors", open_split(DATA, "train").classes, width=8)
    sparse, model, engine = tmp_path / "s.safetensors", tmp_path / "s.onnx", tmp_path / "s.int8.onnx"
    training = ["--data", DATA, "--epochs", 1, "--batch-size", 2]
    verbs = [
        ["prune", checkpoint, "--method", "2:4", *training, "--out", sparse],
        ["export", sparse, "--out", model],
        ["export", checkpoint, "--out", tmp_path / "dense.onnx"],
        [
            "build-engine",
            model,
            "--data",
            DATA,
            "--images",
            2,
            "--max-drop",
            100,
            "--max-class-drop",
            100,
            "--min-agreement",
            0,
            "--out",
            engine,
        ],
    ]
    for verb in verbs:
        outcome = call(*verb)
        assert outcome.exit_code == 0, outcome.output
    for path in (model, engine):
        layers = layer_sparsity(path)
        assert len(layers) == 17
        assert {layer.note for layer in layers} == {"", "3 input channels are not a multiple of 4"}
        assert all(layer.two_four for layer in layers if not layer.note)
        assert call("sparsity", path, "--require-2-4").exit_code == 0
    content = json.loads(call("sparsity", model, "--json").stdout)
    assert content["gzip_bytes"] == gzip_bytes(model) < 0.8 * gzip_bytes(tmp_path / "dense.onnx")
    assert content["file_bytes"] == model.stat().st_size
    outcome = call("sparsity", tmp_path / "dense.onnx", "--require-2-4")
    assert isinstance(outcome.exception, QualityError)
    assert "not 2:4 sparse: 16 layers" in str(outcome.exception)

    damaged = onnx.load(model)
    for tensor in damaged.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.ndim == 4 and values.shape[1] % 4 == 0:
            values[0, 0:4, 0, 0] = [1, 1, 1, 0]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            break
    (layer,) = [layer for layer in graph_sparsity(damaged) if layer.groups and not layer.two_four]
    assert layer.dense_groups == 1
