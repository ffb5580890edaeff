"""One part of each kind, brought by another package through entry points, and used by the verbs as if jetseg had it."""

import json

import pytest
from installed import ROOT, install, python


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    return install(ROOT / "tests" / "plugins", tmp_path_factory.mktemp("plugins"))


@pytest.fixture
def jetseg(plugins, tmp_path):
    def call(*words, code=0):
        done = python(["-m", "jetseg", *words], tmp_path, plugins, ROOT)
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.mark.long
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("build-engine", "opencv"),
        ("eval", "stripes"),
        ("train", "two-layers"),
        ("prune", "spread"),
        ("run", "stripes-camera"),
        ("run", "shares"),
    ],
)
def test_help_names_what_a_package_brings(jetseg, verb, name):
    assert name in jetseg(verb, "--help").stdout.replace("-\n", "-")


@pytest.mark.long
def test_the_verbs_use_what_a_package_brings(jetseg, tmp_path):
    training = ("--model", "two-layers", "--model-option", "width=16", "--epochs", 6, "--lr", 0.02, "--batch-size", 2)
    jetseg("train", "--data", "stripes:8", "--out", "runs/net", *training)
    best = "runs/net/best.safetensors"
    pruned = json.loads(
        jetseg("prune", best, "--criterion", "spread", "--ratio", 0.5, "--out", "small.safetensors", "--json").stdout
    )
    assert [(layer["before"], layer["after"]) for layer in pruned["layers"]] == [(16, 8), (2, 2)]
    jetseg("export", "small.safetensors", "--out", "small.onnx")
    built = json.loads(
        jetseg(
            "build-engine",
            *("small.onnx", "--backend", "opencv", "--precision", "fp32", "--data", "stripes:8", "--out", "e.cv.onnx"),
            "--json",
        ).stdout
    )
    assert (built["backend"], built["passed"]) == ("opencv", True)
    scored = json.loads(jetseg("eval", "e.cv.onnx", "--data", "stripes:8", "--split", "test", "--json").stdout)
    assert (
        scored["miou"]
        == json.loads(jetseg("eval", "small.onnx", "--data", "stripes:8", "--split", "test", "--json").stdout)["miou"]
    )
    drive = json.loads(
        jetseg("run", "e.cv.onnx", "--source", "stripes-camera:5", "--sink", "shares:shares.txt", "--json").stdout
    )
    assert (drive["frames"], drive["source"]) == (5, "stripes-camera:5")
    lines = (tmp_path / "shares.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [f"test{index}" for index in range(5)]
    told = jetseg("run", "e.cv.onnx", "--source", "stripes-camera:many", code=2).stderr.replace("\n", " ")
    assert "jetseg_example.source:StripesCamera) failed: ValueError" in told
    assert "opencv" in jetseg("build-engine", "small.onnx", "--backend", "nonsense", code=2).stderr
    asked = ("build-engine", "small.onnx", "--backend", "opencv", "--precision", "int8", "--data", "stripes:8")
    assert "builds no int8 engines" in jetseg(*asked, code=2).stderr
