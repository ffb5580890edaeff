"""What `jetseg build-engine` writes beside the engine."""

import html
import json

import pytest
from small_network import write_dataset, write_small_network


@pytest.fixture
def calibrated(jetseg, tmp_path):
    """A small network and its ranges; returns the arguments that build an engine of it."""
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=4)
    ranges = tmp_path / "r.json"
    assert jetseg("calibrate", model, "--data", data, "--split", "all", "--preset", "fast", "--out", ranges)[0] == 0
    common = ("--calibration", ranges, "--data", data, "--eval-split", "all", "--out", tmp_path / "e.onnx")
    return ranges, ("build-engine", model, *common)


@pytest.mark.long
def test_a_rejected_engine_gets_a_page_that_names_classes_and_layers(jetseg, calibrated, tmp_path):
    ranges, command = calibrated
    content = json.loads(ranges.read_text())
    for entry in content["tensors"].values():  # all but nothing is left of every activation
        entry.update(low=entry["low"] * 0.01, high=entry["high"] * 0.01, amax=entry["amax"] * 0.01)
    ranges.write_text(json.dumps(content))
    code, out, err = jetseg(*command, "--json")
    result = json.loads(out)
    assert code == 1
    page = html.unescape((tmp_path / "e.rejected.html").read_text())
    assert "e.rejected is rejected" in page
    assert all(sentence in page for sentence in result["violations"])
    assert result["sensitive_layers"]
    assert all(entry["layer"] in page for entry in result["sensitive_layers"])
    assert (result["broken"], result["guilty_layers"]) == (result["violations"], result["sensitive_layers"])
    assert "Report: " in err
    assert not (tmp_path / "e.onnx").exists()


@pytest.mark.long
def test_an_engine_that_passed_gets_a_page_only_when_asked(jetseg, calibrated, tmp_path):
    _, command = calibrated
    budgets = ("--max-drop", 100, "--max-class-drop", 100)
    assert jetseg(*command, *budgets)[0] == 0
    assert not list(tmp_path.glob("*.html"))
    assert jetseg(*command, *budgets, "--report", tmp_path / "why.html")[0] == 0
    page = (tmp_path / "why.html").read_text()
    assert "passed the gate" in page
    assert "Each layer alone in 8 bits" in page
