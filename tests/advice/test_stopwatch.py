"""Speeds: measured here, or predicted with an interval for another computer."""

from types import SimpleNamespace

import pytest
from small_network import write_small_network

from jetseg.advice import stopwatch
from jetseg.advice.config import AdviseConfig
from jetseg.advice.stopwatch import BackendStopwatch, PredictingStopwatch, make_stopwatch
from jetseg.config import validate_config
from jetseg.engine.backend import Candidate
from jetseg.engine.contest import Contest
from jetseg.errors import ConfigError
from jetseg.latency.estimate import LatencyEstimate
from jetseg.network import open_network


@pytest.fixture
def network(tmp_path):
    return open_network(write_small_network(tmp_path))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_is_at_hand_is_timed(precision, network):
    found = BackendStopwatch("onnxruntime", 1)(network, network, precision)
    assert 0 < found.ms < 1000
    assert found.low_ms == found.ms == found.high_ms
    assert found.speedup == pytest.approx(found.reference_ms / found.ms)


def test_what_stays_in_float_for_accuracy_is_timed_there(network, monkeypatch):
    asked = []

    def hold_contest(network, ranges, config):
        asked.append(config.keep_float)
        return Contest({"fp32": 10.0, "int8": 8.0}, {"fp32": Candidate("fp32", "fp32")})

    monkeypatch.setattr(stopwatch, "hold_contest", hold_contest)
    assert BackendStopwatch("onnxruntime", 1)(network, network, "int8", ["c1"]).speedup == 1.25
    assert asked == [("c1",)]


@pytest.mark.parametrize(("target", "float_precision"), [("orin-nano-8gb", "fp16"), ("cpu", "fp32")])
def test_a_prediction_keeps_its_interval_and_learns_once_for_each_precision(
    target, float_precision, network, monkeypatch
):
    opened = []

    def open_model(table, target, precision):
        opened.append((table, target, precision))
        return precision

    monkeypatch.setattr(stopwatch, "open_latency_model", open_model)
    said = {"int8": (4.0, 3.0, 6.0), float_precision: (10.0, 8.0, 15.0)}
    monkeypatch.setattr(
        stopwatch, "predict_latency", lambda _, model: LatencyEstimate(*said[model], 90, "roofline", "there")
    )
    table = SimpleNamespace(precision="int8")
    watch = PredictingStopwatch(target, {"int8": table})
    for _ in range(2):
        found = watch(network, network, "int8")
    assert (found.reference_ms, found.ms, found.low_ms, found.high_ms) == (10.0, 4.0, 3.0, 6.0)
    assert watch(network, network, "fp32").speedup == 1.0
    assert opened == [(None, target, float_precision), (table, target, "int8")]
    assert "latency tables in int8" in watch.source


def test_tables_are_of_a_target():
    assert isinstance(make_stopwatch(AdviseConfig()), BackendStopwatch)
    assert make_stopwatch(AdviseConfig(target="thor")).source.endswith("roughly")
    with pytest.raises(ConfigError, match="latency_tables need target"):
        validate_config(AdviseConfig, {"latency_tables": ["t.json"]})
