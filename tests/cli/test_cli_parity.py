"""`jetseg parity`: what it prints and its exit codes, on networks that really run."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_network import CLASSES, HEIGHT, WIDTH, edit_manifest, small_manifest, write_dataset, write_small_network

from jetseg.engine.engine import open_engine
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.manifest_file import manifest_path
from jetseg.models import create_model
from jetseg.network import save_manifest
from jetseg.training.checkpoint import save_checkpoint
from jetseg.workflows.exporting import export


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_small_network(tmp_path)


@pytest.fixture
def data(tmp_path: Path, network: Path) -> str:
    """Frames whose labels are what the network says, so that its mIoU is 100."""
    spec = write_dataset(tmp_path / "data", frames=4)
    segment = open_engine(network).segment
    for image in sorted((tmp_path / "data" / "images").iterdir()):
        cv2.imwrite(str(tmp_path / "data" / "labels" / image.name), segment(cv2.imread(str(image))))
    return spec


def noisy(network: Path, name: str, noise: float) -> Path:
    """Writes the network with noise on its weights."""
    model = onnx.load(network)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("w"):
            values = numpy_helper.to_array(tensor)
            spoiled = values + rng.normal(0, noise, values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(spoiled, tensor.name))
    path = network.with_name(name)
    onnx.save(model, str(path))
    save_manifest(path, small_manifest())
    return path


def test_a_ladder_that_holds_is_exit_code_0(jetseg, network, data):
    near = noisy(network, "near.onnx", 1e-6)
    code, out, err = jetseg("parity", network, near, "--data", data, "--split", "all")
    assert code == 0, err
    assert out.splitlines()[-1] == "All rungs hold."
    small, other = (next(line for line in out.splitlines() if line.split()[:1] == [name]) for name in ("small", "near"))
    assert small.split() == ["small", "100.00"]
    assert other.split()[3:6] == ["100.000"] * 3
    assert other.split()[6:] == ["100.00", "+0.00"]
    assert f"4 frames of {data}, split all" in " ".join(out.split())
    assert "Comparing" in err


def test_the_first_rung_that_breaks_is_named_and_the_exit_code_is_1(jetseg, network, data):
    bad, same = noisy(network, "bad.onnx", 0.3), noisy(network, "same.onnx", 0.3)
    ladder = ("parity", network, bad, same, "--data", data, "--split", "all")
    code, out, err = jetseg(*ladder, "--json")
    result = json.loads(out)
    assert code == 1
    assert (result["holds"], result["first_failing"]["name"]) == (False, "bad")
    assert result["broken"] == result["first_failing"], "its name until 0.3"
    assert (result["frames"], result["labelled_frames"]) == (4, 4)
    first, second, third = result["rungs"]
    agreement, drop = result["broken"]["breaches"]
    assert (agreement["bound"], agreement["limit"], agreement["value"]) == ("min_agreement", 99, second["agreement"])
    assert (drop["bound"], drop["limit"], drop["value"]) == ("max_drop", 0.5, -second["miou_change"])
    assert second["miou_change"] == pytest.approx(second["miou"] - first["miou"])
    losses = {name: first["per_class_iou"][name] - second["per_class_iou"][name] for name in CLASSES}
    assert drop["worst_class"] == max(losses, key=losses.get)
    assert second["sqnr_db"] < 40
    assert (third["agreement"], third["agreement_first"]) == (100, second["agreement"])
    assert (third["max_abs_error"], third["sqnr_db"]) == (0, None)
    assert (first["path"], first["backend"], first["precision"]) == (str(network), "onnxruntime", "fp32")
    assert result["verdict"] in err

    code, out, err = jetseg(*ladder)
    assert (code, "hold" in out) == (1, False)
    assert "Error: bad breaks: " in err
    assert f"{agreement['value']:.3f} % agreement with small (at least 99; {agreement['worst_class']} keeps" in err
    assert f"{drop['value']:.2f} points of mIoU lost against small (at most 0.5; IoU of {drop['worst_class']}" in err

    loose = ("--min-agreement", 0, "--max-drop", 100)
    assert jetseg(*ladder, *loose)[0] == 0
    assert jetseg(*ladder, "--min-agreement", 0)[0] == 1
    assert jetseg(*ladder, "--max-drop", 100)[0] == 1


def test_frames_without_labels_do(jetseg, network, data):
    shutil.rmtree(Path(data.removeprefix("folder:")) / "labels")
    bad = noisy(network, "bad.onnx", 0.3)
    options = ("--data", data, "--split", "all", "--frames", 2, "--min-agreement", 0)
    code, out, _ = jetseg("parity", network, bad, *options)
    assert code == 0
    assert "2 frames" in out
    assert "no labels" in out
    code, out, _ = jetseg("parity", network, bad, *options, "--json")
    result = json.loads(out)
    assert (result["labelled_frames"], result["rungs"][1]["miou"], result["rungs"][1]["miou_change"]) == (0, None, None)


@pytest.mark.long
def test_a_checkpoint_and_what_was_exported_from_it_agree(jetseg, tmp_path, data):
    torch.manual_seed(0)
    manifest = Manifest(
        classes=CLASSES,
        ignore_index=255,
        input=InputSpec(height=HEIGHT, width=WIDTH, scale=1 / 255),
        model=ModelSpec(factory="tiny", options={"width": 8}),
    )
    checkpoint = tmp_path / "net.safetensors"
    save_checkpoint(checkpoint, create_model("tiny", len(CLASSES), width=8).eval(), manifest)
    exported = export(checkpoint, out=tmp_path / "net.onnx", input="frame").network.path
    code, out, err = jetseg("parity", checkpoint, exported, "--data", data, "--split", "all", "--json")
    assert code == 0, err
    first, second = json.loads(out)["rungs"]
    assert (first["name"], first["backend"]) == ("net.safetensors", "torch")
    assert (second["name"], second["backend"]) == ("net.onnx", "onnxruntime")
    assert second["max_abs_error"] < 1e-4
    assert second["sqnr_db"] is None or second["sqnr_db"] > 80
    assert second["agreement"] > 99.8


def other_mean(network: Path) -> None:
    edit_manifest(network, lambda content: content["input"].update(mean=[0.5, 0.5, 0.4]))


def truncated(network: Path) -> None:
    network.write_bytes(network.read_bytes()[:500])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_mean, "near is not the same network as small. Normalization: scale"),
        (truncated, "SHA-256 differs"),
        (Path.unlink, "near.onnx does not exist"),
        (lambda path: manifest_path(path).unlink(), "near.onnx has no manifest"),
    ],
)
def test_a_rung_that_cannot_be_compared_is_exit_code_2(jetseg, network, data, spoil, words):
    near = noisy(network, "near.onnx", 1e-6)
    spoil(near)
    code, out, err = jetseg("parity", network, near, "--data", data, "--split", "all")
    assert (code, out) == (2, ""), err
    assert words in err


def test_wrong_usage_is_exit_code_2(jetseg, network, data):
    code, out, err = jetseg("parity", network, "--data", data, "--split", "all")
    assert (code, out) == (2, "")
    assert "at least two" in err
    assert jetseg("parity", network, network, "--data", data, "--min-agreement", 101)[0] == 2
    assert jetseg("parity", network, network, "--data", data, "--split", "night")[0] == 2


def test_a_given_manifest_is_for_the_files_that_have_none(jetseg, network, data, tmp_path):
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(network.read_bytes())
    options = ("--data", data, "--split", "all", "--manifest", manifest_path(network))
    assert jetseg("parity", network, bare, *options)[0] == 0
