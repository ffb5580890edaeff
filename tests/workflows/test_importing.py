"""Networks that were trained elsewhere come in without training, and what would fail later fails in the probe."""

import json
import logging
from pathlib import Path

import brought
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import jetseg
from jetseg import trust
from jetseg.errors import ArtifactError, ConfigError, ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models import adapt_outputs_
from jetseg.training.checkpoint import load_checkpoint
from jetseg.workflows import probing, training
from jetseg.workflows.importing import import_network

HEIGHT, WIDTH = 48, 64
CLASSES = ("road", "car", "sky")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    state = {f"model.{name}": value for name, value in brought.Segmenter(3).state_dict().items()}
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(3)}}, tmp_path / "net.ckpt")
    return tmp_path / "net.ckpt"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(
        f"classes: [{', '.join(CLASSES)}]\nignore_index: 255\n"
        f"input: {{name: x, height: {HEIGHT}, width: {WIDTH}, scale: 0.01, mean: [1, 1, 1]}}\noutput: {{name: y}}\n"
    )
    return path


def described(factory: str) -> Manifest:
    spec = InputSpec(height=HEIGHT, width=WIDTH)
    return Manifest(kind="checkpoint", classes=CLASSES, input=spec, model=ModelSpec(factory=f"brought:{factory}"))


@pytest.mark.long
def test_a_trained_network_becomes_a_checkpoint_that_computes_the_same(tmp_path, weights, manifest):
    tasks = set()
    result = import_network(
        "brought:Segmenter",
        weights=weights,
        manifest=manifest,
        out=tmp_path / "net.safetensors",
        progress=lambda task: tasks.add(task.description),
    )
    assert tasks == {"Probing"}
    assert (result.weights.prefix, result.weights.ignored, result.notes) == ("model.", ("loss.weight",), ())
    module, read = load_checkpoint(tmp_path / "net.safetensors")
    assert (read.classes, read.ignore_index, read.input.scale, read.input.name) == (CLASSES, 255, 0.01, None)
    assert (read.kind, read.output.name, read.model.output, read.stages[0].name) == (
        "checkpoint",
        None,
        "out",
        "import",
    )
    torch.manual_seed(1)
    original, images = brought.Segmenter(3).eval(), torch.randn(1, 3, HEIGHT, WIDTH)
    expected = F.interpolate(original(images)["out"], (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    torch.testing.assert_close(module(images), expected)
    exported = jetseg.export(result.checkpoint, out=tmp_path / "net.onnx")
    with jetseg.open_engine(exported.path) as engine, jetseg.open_engine(result.checkpoint.path) as torch_engine:
        assert np.allclose(engine.infer(images.numpy()), expected.detach().numpy(), atol=1e-4)
        frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        assert np.mean(engine.segment(frame) == torch_engine.segment(frame)) > 0.99


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"factory": "brought:Absent"}, ConfigError, "no factory named Absent"),
        ({"output": "logits"}, ArtifactError, "Give `output` as one of out"),
        ({"model_options": {"width": 3}}, ConfigError, "cannot be called with .*width=3"),
        ({"out": "net.pt"}, ConfigError, r"must end in \.safetensors"),
        ({"manifest": "absent.yaml"}, ManifestError, "does not exist"),
        ({"weights": "absent.pth"}, ArtifactError, r"absent\.pth does not exist"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(tmp_path, weights, manifest, settings, error, message):
    given = {
        "factory": "brought:Segmenter",
        "weights": weights,
        "manifest": manifest,
        "out": tmp_path / "o.safetensors",
    }
    with pytest.raises(error, match=message):
        import_network(**{**given, **settings})
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Detached", "cannot be trained"),
        ("Random", "computes something else when it is run a second time"),
        ("Forgetful", "computes something else when it is loaded from its checkpoint"),
        pytest.param("ByValue", r"exported to ONNX", marks=pytest.mark.slow),
    ],
)
def test_the_probe_names_the_step_that_fails(factory, message, monkeypatch):
    monkeypatch.setattr(trust, "_named", {f"brought:{factory}"})
    manifest = described(factory)
    module = adapt_outputs_(getattr(brought, factory)(3), manifest.model)
    with pytest.raises(ArtifactError, match=message):
        probing.probe_network(module, manifest)


@pytest.mark.long
def test_training_begins_with_the_probe_and_goes_on_without(tmp_path, monkeypatch, caplog):
    probed = []
    probe = probing.probe_network
    monkeypatch.setattr(probing, "probe_network", lambda *given: probed.append(given) or probe(*given))
    given = {"data": "synthetic:4", "model": "brought:Segmenter", "batch_size": 2, "accelerator": "cpu"}
    given |= {"height": HEIGHT, "width": WIDTH, "out": tmp_path / "run", "validate_every": 2}
    first = training.train(epochs=2, **given)
    assert len(probed) == 1
    assert training.train(epochs=2, **given) == first
    assert len(probed) == 1  # a finished run has nothing to probe
    assert load_checkpoint(first.best)[1].model.output == "out"
    caplog.set_level(logging.WARNING)
    training.train(
        epochs=1, probe=False, **{**given, "model": "brought:Unpooled", "out": tmp_path / "other", "workers": 0}
    )
    assert len(probed) == 1
    assert caplog.text.count("no repeatable kernel") == 1
    assert "max_unpooling2d" in caplog.text


def test_a_network_that_would_fail_later_is_not_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("jetseg.training.loop.train", lambda *_: pytest.fail("training began"))
    with pytest.raises(ArtifactError, match="run a second time"):
        training.train(
            data="synthetic:4", model="brought:Random", height=HEIGHT, width=WIDTH, out=tmp_path / "run", epochs=1
        )


@pytest.mark.parametrize(("name", "output"), [("DictOutput", "out"), ("EvalTuple", "0"), ("Unpooled", None)])
def test_networks_as_people_bring_them_are_trained(name, output, shared_dir, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(shared_dir / "cases")
    given = {"data": "synthetic:2", "model": f"networks:{name}", "batch_size": 2, "accelerator": "cpu", "probe": False}
    result = training.train(epochs=1, height=24, width=40, out=tmp_path / "run", **given)
    module, manifest = load_checkpoint(result.best)
    assert manifest.model.output == output
    import networks

    own, images = getattr(networks, name)(manifest.num_classes).eval(), torch.randn(1, 3, 24, 40)
    own.load_state_dict(module.state_dict())
    expected = own(images)
    expected = expected["out"] if name == "DictOutput" else expected[0] if name == "EvalTuple" else expected
    assert torch.equal(module(images), expected)


def test_the_command_line_tells_what_it_did(tmp_path, weights, manifest, monkeypatch, capsys):
    from jetseg.cli.main import main

    monkeypatch.setattr(probing, "probe_network", lambda *_: ("Its channels cannot be pruned.",))
    out = tmp_path / "net.safetensors"
    words = ["jetseg", "import", "brought:Segmenter", "--weights", weights, "--manifest", manifest, "--out", out]
    monkeypatch.setattr("sys.argv", [*map(str, words), "--json"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "checkpoint": str(out),
        "output": "out",
        "train_output": "out",
        "prefix": "model.",
        "ignored": ["loss.weight"],
        "notes": ["Its channels cannot be pruned."],
    }
