import json

import pytest
from known_windows import known_estimator
from small_network import CLASSES, write_dataset, write_small_network

from jetseg.artifact_file import rewrite_manifest
from jetseg.network import load_manifest, open_network


@pytest.fixture
def parts(tmp_path):
    return write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=12)


def run_with(jetseg, network, data, *options):
    code, out, err = jetseg("run", network, "--source", data, "--split", "all", "--json", *options)
    assert code == 0, err
    return json.loads(out), " ".join(err.split())


@pytest.mark.long
def test_a_profile_switches_drift_on(parts, jetseg):
    network, data = parts
    summary, err = run_with(jetseg, network, data)
    assert summary["drift"] is None
    assert "no calibration profile" in err
    assert "jetseg baseline" in err
    code, _, err = jetseg("baseline", network, "--data", data, "--split", "all", "--reference", network)
    assert code == 0, err
    manifest = load_manifest(network)
    assert manifest.profile.agreement_miou == 100
    assert set(manifest.profile.class_percent) == set(CLASSES)
    summary, err = run_with(jetseg, network, data, "--shadow", network, "--shadow-every", 1)
    assert "no calibration profile" not in err
    assert summary["drift"]["active"] == []
    assert summary["drift"]["signals"]["too-dark"]["bound"] > 0
    assert summary["shadow"]["bound"] == 80
    assert summary["shadow"]["agreement_miou"] in (100, None)
    code, out, _ = jetseg("run", network, "--source", data, "--split", "all", "--shadow", network)
    assert code == 0
    assert "drift: no alarm" in out
    assert "shadow: agreement mIoU" in out
    assert run_with(jetseg, network, data, "--no-drift")[0]["drift"] is None


@pytest.mark.long
def test_a_run_estimates_accuracy_without_labels(tmp_path, jetseg):
    network, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=60)
    opened = open_network(network)
    rewrite_manifest(opened, opened.manifest.changed(estimator=known_estimator(CLASSES)))
    summary, _ = run_with(jetseg, network, data)
    estimate = summary["estimate"]
    assert estimate["windows"][0]["last_frame"] >= 30
    assert estimate["windows"][-1]["miou"] == estimate["miou"]
    assert 0 <= estimate["low"] <= estimate["miou"] <= estimate["high"] <= 100
    assert set(estimate["per_class_iou"]) == set(CLASSES)
    code, out, _ = jetseg("run", network, "--source", data, "--split", "all", "--estimate-bound", 100)
    assert code == 0
    assert "estimated mIoU %:" in out
    assert run_with(jetseg, network, data, "--no-estimate")[0]["estimate"] is None


def test_baseline_learns_to_estimate_from_sixty_frames(tmp_path, jetseg, monkeypatch):
    monkeypatch.setattr("jetseg.evaluation.learning.SEVERITIES", (3,))
    network, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=60)
    code, _, err = jetseg("baseline", network, "--data", data, "--split", "all", "--frames", 8)
    assert code == 0, err
    assert "an estimator from 12 windows" in " ".join(err.split())
    estimator = load_manifest(network).estimator
    assert (estimator.target, estimator.windows) == ("labels", 12)
    code, _, err = jetseg("baseline", network, "--data", data, "--split", "all", "--frames", 8, "--no-estimate")
    assert code == 0
    assert "the estimator in it stays" in " ".join(err.split())
    assert load_manifest(network).estimator == estimator
    few = write_dataset(tmp_path / "few", frames=10)
    assert jetseg("baseline", network, "--data", few, "--split", "all", "--frames", 8)[0] == 0
    assert load_manifest(network).estimator == estimator, "ten frames teach none"


def test_too_few_frames_are_refused(parts, tmp_path, jetseg):
    few = write_dataset(tmp_path / "few", frames=4)
    code, _, err = jetseg("baseline", parts[0], "--data", few, "--split", "all")
    assert code == 2
    assert "8 or more" in " ".join(err.split())


def test_a_built_engine_brings_its_profile(parts, tmp_path, jetseg):
    network, data = parts
    engine = tmp_path / "e.onnx"
    options = ["--data", data, "--split", "all", "--eval-split", "all", "--images", 8, "--out", engine]
    code, _, err = jetseg("build-engine", network, *options, "--max-drop", 100, "--max-class-drop", 100)
    assert code == 0, err
    profile = load_manifest(engine).profile
    assert profile.frames == 8
    assert 50 < profile.agreement_miou < 100
