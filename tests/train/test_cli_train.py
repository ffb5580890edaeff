import json
import sys

import pytest
import yaml

from jetseg.cli.main import main
from jetseg.network import load_manifest
from jetseg.train.config import DistillConfig


@pytest.fixture
def jetseg(monkeypatch, capsys, toy_data):
    """Runs the command line; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["jetseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


QUICK = ("--data", "toy", "--model", "tiny", "--model-option", "width=8", "--accelerator", "cpu")


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
    assert "% on toy, split val, 4 frames" in stdout
    written = yaml.safe_load((small / "config.yaml").read_text())
    assert written["distill"] == DistillConfig(kd_weight=0.5, cwd_weight=3).model_dump()
    assert written["model_options"] == {"width": 8}


def test_options_win_over_the_file_and_set_over_both(jetseg, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("data: toy\nmodel: unet\nepochs: 7\nlr: 0.5\naugment: {brightness: 0.1}\n")
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
        (("train", "--epochs", 0), ["data: Field required", "out: Field required", "epochs: "]),
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
    sidecar = path.with_name(path.name + ".json")
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**content, "classes": ["road", "bus", "sky"]}))
    code, _, stderr = jetseg("distill", *QUICK, "--teacher", path, "--epochs", 1, "--out", tmp_path / "small")
    assert code == 2
    assert "road, bus, sky; the student's are road, car, sky" in stderr.replace("\n", " ")
