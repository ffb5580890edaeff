import json

import pytest
import yaml
from small_network import edit_manifest

from jetseg.network import load_manifest
from jetseg.training.config import DistillConfig

QUICK = (
    "--data",
    "synthetic:4",
    "--batch-size",
    2,
    "--set",
    "crop_height=64",
    "--set",
    "crop_width=64",
    "--model",
    "tiny",
    "--model-option",
    "width=8",
    "--accelerator",
    "cpu",
)


def test_train_then_distill(jetseg, tmp_path):
    out = tmp_path / "big"
    code, stdout, stderr = jetseg("train", *QUICK, "--epochs", 1, "--out", out, "--json")
    assert code == 0, stderr
    result = json.loads(stdout)
    assert result["best"] == str(out / "best.safetensors")
    assert result["split"] == "val"
    assert result["val_miou"] == load_manifest(out / "best.safetensors").accuracy[0].miou
    assert "epoch 1/1" in stderr

    small = tmp_path / "small"
    options = ("--teacher", result["best"], "--kd-weight", 0.5, "--cwd-weight", 3, "--epochs", 1)
    code, stdout, stderr = jetseg("distill", *QUICK, *options, "--out", small)
    assert code == 0, stderr
    assert "% on synthetic:4, split val, 4 frames" in stdout
    written = yaml.safe_load((small / "config.yaml").read_text())
    assert written["distill"] == DistillConfig(kd_weight=0.5, cwd_weight=3).model_dump()
    assert written["model_options"] == {"width": 8}


def test_options_win_over_the_file_and_set_over_both(jetseg, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("data: synthetic:2\nmodel: unet\nepochs: 7\nlr: 0.5\naugment: {brightness: 0.1}\n")
    options = ("--config", file, *QUICK, "--epochs", 1, "--out", tmp_path / "run")
    code, _, stderr = jetseg("train", *options, "--set", "augment.scale=[1.0, 1.2]", "--set", "lr=0.001")
    assert code == 0, stderr
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (written["model"], written["epochs"], written["lr"]) == ("tiny", 1, 0.001)
    assert written["augment"]["brightness"] == 0.1
    assert written["augment"]["scale"] == [1.0, 1.2]


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("train", "--lr", 0), ["data: Field required", "out: Field required", "lr: "]),
        (("train", *QUICK, "--out", "x", "--set", "lrate=1"), ["lrate: Extra inputs"]),
        (("train", *QUICK, "--out", "x", "--set", "nothing"), ["KEY=VALUE"]),
        (("distill", *QUICK, "--out", "x"), ["no teacher"]),
        (("train", "--config", "absent.yaml"), ["absent.yaml could not be read"]),
        (("train", *QUICK, "--out", "x", "--init", "absent.safetensors"), ["init brings its own model"]),
    ],
)
def test_mistakes_are_told_with_exit_code_2(jetseg, tmp_path, monkeypatch, arguments, messages):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = jetseg(*arguments)
    assert code == 2
    assert stdout == ""
    for message in messages:
        assert message in stderr


def test_a_teacher_with_other_classes_is_refused(jetseg, tmp_path):
    jetseg("train", *QUICK, "--epochs", 1, "--out", tmp_path / "big")
    path = tmp_path / "big" / "best.safetensors"
    classes = load_manifest(path).classes
    edit_manifest(path, lambda content: content["outputs"][0].update(classes=["bus", *classes[1:]]))
    code, _, stderr = jetseg("distill", *QUICK, "--teacher", path, "--epochs", 1, "--out", tmp_path / "small")
    assert code == 2
    assert f"classes are bus, {classes[1]}" in stderr
    assert f"the student's are {', '.join(classes)}" in stderr
