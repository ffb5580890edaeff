"""The vehicle's verbs work where torch, and everything that needs it, is not installed."""

import json
import subprocess
import sys

import pytest
from small_network import write_dataset, write_small_network

from jetseg.installation import install_hint

BLOCKED = ("torch", "lightning_fabric", "safetensors", "onnxscript", "matplotlib", "jinja2")
PROGRAM = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import jetseg
from jetseg.cli.main import main
main()
"""


def jetseg(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["calibrate"],
        ["build-engine"],
        ["run"],
        ["eval"],
        ["train"],
        ["demo"],
        ["doctor"],
        ["pack"],
        ["verify"],
        ["lint"],
    ],
)
def test_help_works(verb):
    done = jetseg(*verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("verb", ["train", "distill", "prune", "factorize", "export", "qat", "compress", "search"])
def test_help_of_workshop_verbs_needs_neither_onnx_nor_opencv(verb):
    program = PROGRAM.replace("('torch'", "('cv2', 'onnx', 'onnxruntime', 'optuna', 'torch'")
    done = subprocess.run([sys.executable, "-c", program, verb, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--data" in done.stdout


@pytest.mark.long
def test_calibrate_build_eval_and_run(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    ranges, engine = tmp_path / "small.ranges.json", tmp_path / "small.int8.onnx"
    calibrated = jetseg("calibrate", model, "--data", data, "--split", "all", "--images", 4, "--out", ranges)
    assert calibrated.returncode == 0, calibrated.stderr
    built = jetseg(
        "build-engine", model, "--calibration", ranges, "--data", data, "--eval-split", "all", "--out", engine, "--json"
    )
    assert built.returncode == 0, built.stderr
    scored = jetseg("eval", engine, "--data", data, "--split", "all", "--json")
    assert scored.returncode == 0, scored.stderr
    driven = jetseg("run", engine, "--source", data, "--split", "all", "--json")
    assert driven.returncode == 0, driven.stderr
    build, score, drive = (json.loads(done.stdout) for done in (built, scored, driven))
    assert build["accuracy"]["miou"] == score["miou"]
    assert drive["miou"] == pytest.approx(score["miou"], abs=0.005)
    assert (drive["frames"], drive["dropped"]) == (6, 0)


@pytest.mark.parametrize("verb", [["train", "--data", "synthetic:4"], ["qat", "small.onnx", "--data", "synthetic:4"]])
def test_a_workshop_verb_says_what_to_install(tmp_path, monkeypatch, verb):
    write_small_network(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = jetseg(*verb, "--out", "made.onnx")
    assert done.returncode == 3
    assert install_hint("train") in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
