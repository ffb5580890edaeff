"""The pruning stage and its verb: checkpoints, history, fine-tuning, mistakes."""

import json

import pytest
import torch
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.compress.config import PruneConfig
from jetseg.compress.prune import prune_network
from jetseg.data.dataset import open_dataset, open_split
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.measured import Accuracy
from jetseg.models import create_model
from jetseg.network import load_manifest, open_network
from jetseg.output_spec import OutputSpec
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.workflows.pruning import prune

DATA = "synthetic:4"


def save(path, classes, name="tiny", **options):
    torch.manual_seed(0)
    manifest = Manifest(
        outputs=(OutputSpec(classes=classes),),
        input=InputSpec(height=64, width=96, scale=1 / 255),
        model=ModelSpec(factory=name, options=options),
        accuracy=(Accuracy(data="x", split="val", frames=1, miou=50, pixel_accuracy=50, per_class_iou={}),),
    )
    save_checkpoint(path, create_model(name, len(classes), **options), manifest)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    return save(tmp_path / "dense.safetensors", open_split(DATA, "train").classes, width=8)


@pytest.mark.parametrize("criterion", ["magnitude", "bn-scale", "activation", "taylor", "random"])
def test_stage_writes_a_checkpoint_with_its_history(checkpoint, tmp_path, criterion):
    config = PruneConfig(criterion=criterion, batches=1, round_to=4)
    network, dataset = open_network(checkpoint), open_dataset(DATA)
    result = prune_network(network, config, tmp_path / "out" / "pruned.safetensors", dataset=dataset)
    module, manifest = load_checkpoint(result.checkpoint)
    widths = {name: layer.out_channels for name, layer in module.named_modules() if hasattr(layer, "groups")}
    assert widths == {layer.name: layer.after for layer in result.layers}
    assert result.after.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert result.after.macs < 0.35 * result.before.macs
    assert manifest.parent_sha256 == load_manifest(checkpoint).sha256
    assert manifest.accuracy == ()
    (stage,) = manifest.stages
    assert (stage.name, stage.settings["criterion"], stage.settings["ratio"]) == ("prune", criterion, 0.5)
    again = prune_network(network, config, tmp_path / "again.safetensors", dataset=dataset)
    assert load_manifest(again.checkpoint).sha256 == manifest.sha256


def test_mistakes_are_reported_together():
    values = {"ratio": 1.5, "round_to": 0, "speed": 3, "epochs": -1}
    with pytest.raises(ConfigError, match=r"(?s)ratio.*round_to.*speed.*epochs"):
        prune("a.safetensors", **values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criterion": "taylor"}, "taylor looks at frames"),
        ({"method": "unstructured", "criterion": "taylor", "data": DATA}, "does not go with `method` unstructured"),
        ({"method": "2:4", "criterion": "random"}, "does not go with `method` 2:4, which takes magnitude"),
        ({"criterion": "importance"}, "no pruning criterion importance: choose from magnitude"),
        ({"method": "unstructured", "speedup": 2}, "no speed to reach"),
        ({"scope": "latency"}, "needs speedup"),
        ({"speedup": 2, "target_latency_ms": 3}, "not both"),
        ({"threshold": 0.1}, "threshold needs method unstructured"),
        ({"method": "unstructured", "scope": "isomorphic"}, "no scope isomorphic"),
        ({"out": "b.onnx"}, r"must end in \.safetensors"),
        ({"out": "dense.safetensors"}, "another file"),
    ],
)
def test_settings_that_do_not_fit_are_refused(checkpoint, monkeypatch, changes, message):
    monkeypatch.chdir(checkpoint.parent)
    with pytest.raises(ConfigError, match=message):
        prune(checkpoint.name, **changes)


@pytest.mark.parametrize(
    ("changes", "criterion"),
    [
        ({}, "magnitude"),
        ({"data": DATA}, "magnitude"),
        ({"speedup": 2}, "magnitude"),
        ({"speedup": 2, "data": DATA}, "taylor"),
        ({"speedup": 2, "data": DATA, "scope": "layer"}, "magnitude"),
        ({"speedup": 2, "data": DATA, "criterion": "bn-scale"}, "bn-scale"),
    ],
)
def test_layers_compete_by_scores_that_compare(changes, criterion):
    data = changes.pop("data", None)
    assert PruneConfig(**changes).scored_by(data=data is not None) == criterion


def test_frames_must_show_the_networks_classes(tmp_path):
    other = save(tmp_path / "other.safetensors", ("a", "b"), width=8)
    out = tmp_path / "o.safetensors"
    with pytest.raises(DataError, match="classes are a, b"):
        prune(other, out=out, criterion="taylor", data=DATA)
    assert not out.exists()


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_random_half_of_every_convolution_is_one_command(checkpoint):
    outcome = call("prune", checkpoint, "--method", "unstructured", "--criterion", "random", "--ratio", 0.5, "--json")
    assert outcome.exit_code == 0, outcome.output
    content = json.loads(outcome.stdout)
    assert all(layer["after"] == layer["before"] // 2 for layer in content["layers"])
    module, _ = load_checkpoint(checkpoint.with_name("dense.pruned.safetensors"))
    weights = [layer.weight for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(weights) == len(content["layers"])
    assert all(torch.count_nonzero(weight) == weight.numel() // 2 for weight in weights)


def test_fine_tuning_is_part_of_the_command(checkpoint, tmp_path):
    out = tmp_path / "small.safetensors"
    arguments = [
        "prune",
        checkpoint,
        "--data",
        DATA,
        "--epochs",
        1,
        "--batch-size",
        2,
        "--teacher",
        checkpoint,
    ]
    outcome = call(*arguments, "--out", out)
    assert outcome.exit_code == 0, outcome.output
    manifest = load_manifest(out)
    assert [stage.name for stage in manifest.stages] == ["prune", "distill"]
    module, _ = load_checkpoint(out)
    assert module.get_submodule("stage16.0.0").out_channels == 16
    assert "mIoU" in outcome.stdout


def test_pruned_weights_stay_zero_through_fine_tuning(checkpoint, tmp_path):
    out = tmp_path / "sparse.safetensors"
    arguments = ["--method", "unstructured", "--criterion", "random", "--data", DATA, "--epochs", 1, "--batch-size", 2]
    outcome = call("prune", checkpoint, *arguments, "--out", out)
    assert outcome.exit_code == 0, outcome.output
    before, _ = load_checkpoint(checkpoint)
    after, _ = load_checkpoint(out)
    for name, layer in after.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert torch.count_nonzero(layer.weight) == layer.weight.numel() // 2
            dense = before.get_submodule(name).weight
            assert not torch.equal(layer.weight[layer.weight != 0], dense[layer.weight != 0])


def test_training_from_a_network_with_zeros_keeps_them(checkpoint, tmp_path):
    sparse, tuned = tmp_path / "sparse.safetensors", tmp_path / "tuned"
    assert call("prune", checkpoint, "--method", "2:4", "--out", sparse).exit_code == 0
    arguments = ["--init", sparse, "--data", DATA, "--epochs", 1, "--batch-size", 2, "--out", tuned]
    outcome = call("train", *arguments)
    assert outcome.exit_code == 0, outcome.output
    before, after = (dict(load_checkpoint(path)[0].named_parameters()) for path in (sparse, tuned / "last.safetensors"))
    zeros = {name: weight == 0 for name, weight in before.items() if weight.ndim > 1}
    assert any(bool(mask.any()) for mask in zeros.values())
    assert all(torch.equal(after[name] == 0, mask) for name, mask in zeros.items())
    assert any(not torch.equal(after[name], before[name]) for name in zeros)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", 3], "nothing to learn from"),
        (["--teacher", "t.onnx"], "only while fine-tuning"),
        (["--epochs", 3, "--data", DATA, "--set", "epoch=4"], "epoch: Extra inputs"),
    ],
)
def test_the_verb_refuses_what_makes_no_sense(checkpoint, arguments, message):
    outcome = call("prune", checkpoint, *arguments)
    assert isinstance(outcome.exception, ConfigError)
    assert message in str(outcome.exception)


def test_steps_reach_the_ratio_of_the_whole(checkpoint, tmp_path):
    out = tmp_path / "small.safetensors"
    outcome = call("prune", checkpoint, "--ratio", 0.75, "--round-to", 1, "--steps", 2, "--out", out, "--json")
    assert outcome.exit_code == 0, outcome.output
    layers = {layer["name"]: layer for layer in json.loads(outcome.stdout)["layers"]}
    assert (layers["stage16.0.0"]["before"], layers["stage16.0.0"]["after"]) == (32, 8)
    assert [stage.name for stage in load_manifest(out).stages] == ["prune", "prune"]
    refused = call("prune", checkpoint, "--steps", 2, "--method", "unstructured")
    assert isinstance(refused.exception, ConfigError)
