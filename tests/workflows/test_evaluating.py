"""`jetseg.evaluate`: the same figures from a path, a network, an open engine and a simulation."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_network import small_manifest, small_network, write_dataset, write_small_network

from jetseg.engine.engine import open_engine
from jetseg.errors import ConfigError, DataError
from jetseg.network import open_network, save_manifest
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.evaluating import evaluate


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_small_network(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "data", frames=4)


def test_a_path_a_network_and_an_engine_score_alike_and_an_open_one_stays_open(network, data):
    by_path = evaluate(network, data=data, split="all")
    assert by_path.miou == by_path.accuracy.miou
    assert (by_path.agreement, by_path.conditions["split"], by_path.conditions["backend"]) == (
        None,
        "all",
        "onnxruntime",
    )
    assert evaluate(open_network(network), data=data, split="all") == by_path
    with open_engine(network) as engine:
        assert evaluate(engine, data=data, split="all", frames=2).accuracy.frames == 2
        result = evaluate(engine, data=data, split="all", reference=engine)
        assert engine.segment(np.zeros((24, 32, 3), np.uint8)).shape == (24, 32)  # still open
    assert (result.accuracy, result.agreement.percent) == (by_path.accuracy, 100.0)


def test_a_simulation_is_compared_with_the_float_network(network, data, tmp_path):
    ranges = calibrate(network, data=data, split="all", preset="fast", out=tmp_path / "r.json")
    by_path = evaluate(network, data=data, split="all", simulate="tensorrt", ranges=ranges.path)
    assert by_path.accuracy.simulated
    assert by_path.conditions["backend"] == "tensorrt (simulated)"
    assert 80 < by_path.agreement.percent < 100
    with open_engine(network) as engine:
        assert evaluate(engine, data=data, split="all", simulate="tensorrt", ranges=ranges) == by_path
    with pytest.raises(ConfigError, match="needs the network's ranges"):
        evaluate(network, data=data, split="all", simulate="tensorrt")


def test_without_labels_there_is_agreement_or_nothing(network, data, tmp_path):
    shutil.rmtree(tmp_path / "data" / "labels")
    result = evaluate(network, data=data, split="all", reference=network)
    assert (result.miou, result.accuracy, result.agreement.percent) == (None, None, 100.0)
    with pytest.raises(DataError, match="a `reference` network tells"):
        evaluate(network, data=data, split="all")


def test_settings_are_checked_and_progress_is_told(network, data):
    with pytest.raises(ConfigError, match="frames"):
        evaluate(network, data=data, frames=0)
    told = []
    evaluate(network, data=data, split="all", progress=lambda task: told.append(task.done))
    assert told[-1] == 4


def test_the_public_names_stay_callable_beside_the_folders_of_these_names():
    code = (
        "import jetseg, jetseg.evaluation.config\n"
        "import jetseg.workflows.evaluating as home\n"
        "assert callable(jetseg.evaluate) and jetseg.evaluation.config\n"
        "home.evaluate = lambda *a, **k: (a, k)\n"
        "assert jetseg.evaluate(1, data=2) == ((1,), {'data': 2})\n"
        "assert 'torch' not in __import__('sys').modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scores_that_are_not_finite_are_counted_and_said(tmp_path, data, caplog):
    model = small_network()
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b4")
    bias.CopyFrom(numpy_helper.from_array(np.array([0, np.inf, 0], np.float32), "b4"))
    path = tmp_path / "overflowing.onnx"
    onnx.save(model, str(path))
    save_manifest(path, small_manifest())
    found = evaluate(path, data=data, split="all", reference=path)
    assert found.frames_not_finite == 8  # four frames in both networks
    assert "not finite" in caplog.text
