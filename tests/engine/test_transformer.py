"""A small vision transformer through calibration and build: its products run on integers, and all are counted."""

import json

import numpy as np
import onnx
import pytest
from small_network import small_manifest, write_dataset
from small_transformer import ATTENTION, CHANNELS, CLASSES, HIDDEN, LINEAR, PATCH, TOKENS, small_transformer
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.data.dataset import Dataset, open_split
from jetseg.engine.backend import StepTime
from jetseg.engine.engine import open_engine
from jetseg.engine.engine_build import EngineBuild
from jetseg.engine.onnxruntime import attention
from jetseg.engine.onnxruntime.backend import OnnxRuntime
from jetseg.network import load_manifest, open_network, save_manifest
from jetseg.onnx.graph import Graph
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import TensorRange, open_ranges
from jetseg.workflows.building import build_engine

SETTINGS = {"split": "all", "eval_split": "all", "images": 4, "max_drop": 100, "max_class_drop": 100}
MACS = {
    "patches": TOKENS * CHANNELS * 3 * PATCH**2,
    **dict.fromkeys(("query", "key", "value", "mixed_out"), TOKENS * CHANNELS**2),
    **dict.fromkeys(ATTENTION, TOKENS**2 * CHANNELS),
    **dict.fromkeys(("fc1", "fc2"), TOKENS * CHANNELS * HIDDEN),
    "scores": TOKENS * CHANNELS * len(CLASSES),
}


@pytest.fixture
def transformer(tmp_path):
    path = tmp_path / "transformer.onnx"
    onnx.save(small_transformer(), str(path))
    save_manifest(path, small_manifest())
    return path


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch):
    """Lets each test time anew."""
    monkeypatch.setattr(attention, "_KNOWN", {})


@pytest.fixture(params=[True, False])
def attention_gains(request, monkeypatch):
    """Lets this machine be faster on integers, or not."""
    spent = {"float": 2.0 if request.param else 1.0, "integers": 1.0}
    monkeypatch.setattr(
        attention, "quiet_latencies_ms", lambda calls, **_: [call() for call in calls.values()] and spent
    )
    return request.param


@pytest.fixture
def products_gain(monkeypatch):
    """Lets this machine multiply activations faster on integers."""
    monkeypatch.setattr(attention, "quiet_latencies_ms", lambda _calls, **_: {"float": 2.0, "integers": 1.0})


@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_products_run_on_integers_and_the_class_map_stays(transformer, tmp_path, preset, attention_gains):
    data = write_dataset(tmp_path / "data")
    built = build_engine(
        transformer, preset=preset, sensitivity=True, data=data, **SETTINGS, out=tmp_path / "net.int8.onnx"
    )
    report = built.report
    assert set(report.integer_layers) == {"patches", *LINEAR, *(ATTENTION if attention_gains else ())}
    assert set(report.float_layers) == {"scores", *(() if attention_gains else ATTENTION)}
    assert report.macs == MACS
    assert report.integer_macs == sum(MACS[name] for name in report.integer_layers)
    assert {effect.layer for effect in built.sensitive_layers} == set(report.integer_layers)
    dataset = open_split(data, "all")
    with open_engine(transformer) as parent, open_engine(built.path) as engine:
        same = [parent.segment(frame) == engine.segment(frame) for frame in (dataset[i].image_hwc_u8 for i in range(6))]
    assert np.mean(same) > 0.95


def test_what_runs_in_float_is_said(transformer, tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "quiet_latencies_ms", lambda _calls, **_: {"float": 1.0, "integers": 1.0})
    data = write_dataset(tmp_path / "data")
    words = ["--data", data, "--split", "all", "--eval-split", "all", "--images", "4", "--preset", "fast"]
    words += [
        "--max-drop",
        "100",
        "--max-class-drop",
        "100",
        "--min-agreement",
        "0",
        "--out",
        str(tmp_path / "net.onnx"),
    ]
    told = CliRunner().invoke(app, ["build-engine", str(transformer), *words])
    kept = {"scores", *ATTENTION}
    share = 100 * (1 - sum(MACS[name] for name in kept) / sum(MACS.values()))
    work = f"{sum(MACS.values()) / 1e3:.0f} k"
    line = f"on integers: {share:.0f} % of {work} multiply-accumulates; 7 of 10 products"
    assert line in " ".join(told.stdout.split())
    listed = json.loads(CliRunner().invoke(app, ["build-engine", str(transformer), *words, "--json"]).stdout)
    assert set(listed["float_layers"]) == kept
    assert (listed["macs"], listed["integer_macs"]) == (sum(MACS.values()), sum(MACS[n] for n in MACS if n not in kept))


def test_attention_is_timed_once_per_shape_and_needs_ranges(monkeypatch):
    timed = []

    def times(calls, **_):
        timed.append([call() for call in calls.values()])
        return {"float": 1.04 if len(timed) == 1 else 1.06, "integers": 1.0}

    monkeypatch.setattr(attention, "quiet_latencies_ms", times)
    graph = Graph(small_transformer())
    unit = TensorRange(low=0, high=1, amax=1, seen_low=0, seen_high=1)
    tensors = dict.fromkeys(observed_tensors(graph), unit)
    assert attention.faster_products(graph, tensors) == {"mixed"}  # a gain of 4 % may be none
    assert len(timed) == 2
    assert attention.faster_products(graph, tensors) == {"mixed"}
    assert len(timed) == 2, "the next engine of a build has the same products on integers"
    for exact, rounded in timed:
        assert np.abs(rounded[0] - exact[0]).max() < 0.05 * exact[0].max()
    without = {name: unit for name in tensors if name != "v"}
    monkeypatch.setattr(attention, "_KNOWN", {})
    assert attention.faster_products(graph, without) == {"likeness"}


@pytest.mark.usefixtures("products_gain")
def test_a_product_that_shall_be_in_float_is(transformer, tmp_path):
    data = write_dataset(tmp_path / "data")
    settings = {**SETTINGS, "preset": "fast", "sensitivity": True, "data": data, "out": tmp_path / "net.onnx"}
    built = build_engine(transformer, keep_float=("mixed",), **settings)
    assert set(built.report.float_layers) == {"mixed", "scores"}
    assert "mixed" not in {effect.layer for effect in built.sensitive_layers}, "it is in float already"
    assert load_manifest(built.path).stages[-1].settings["keep_float"] == ["mixed"]


@pytest.mark.usefixtures("products_gain")
def test_a_product_that_loses_goes_back_to_float(transformer, tmp_path, monkeypatch):
    """The one that an attempt takes back is the one whose quantizers clip."""
    data = write_dataset(tmp_path / "data")
    network = open_network(transformer)
    config = CalibrateConfig(split="all", images=4, preset="fast", method="minmax")
    content = json.loads(calibrate(network, Dataset(data), config, tmp_path / "r.json").path.read_text())
    for key in ("seen_low", "seen_high", "low", "high", "amax"):
        content["tensors"]["v"][key] *= 0.01
    (tmp_path / "spoiled.json").write_text(json.dumps(content))
    spoiled = open_ranges(tmp_path / "spoiled.json", network)
    monkeypatch.setattr(EngineBuild, "calibrate", lambda *_: spoiled)
    settings = {**SETTINGS, "ranges": spoiled, "auto": True, "min_agreement": 99.0, "data": data}
    built = build_engine(transformer, **settings, out=tmp_path / "net.onnx")
    assert built.report.float_layers == ("mixed", "scores")
    assert built.attempts[-1].startswith("1 nodes in float, ")
    assert built.attempts[-1].endswith(" % of the multiply-accumulates: passed")


@pytest.mark.usefixtures("products_gain")
def test_a_product_that_is_slower_where_it_stands_is_in_float(transformer, tmp_path, monkeypatch):
    """Alone it was faster on integers; the engines decide."""

    def step_times(_self, engines, _threads):
        spent = [dict.fromkeys(MACS, 1.0), dict.fromkeys(MACS, 0.5) | {"mixed": 4.0}]
        return [[StepTime(name, "MatMul", ms, 100) for name, ms in steps.items()] for steps in spent[: len(engines)]]

    def latencies(calls, **_):
        return {name: {"fp32": 10.0, "int8": 9.0}.get(name, 6.0) for name in calls}

    monkeypatch.setattr(OnnxRuntime, "step_times", step_times)
    monkeypatch.setattr("jetseg.engine.trial_engines.quiet_latencies_ms", latencies)
    data = write_dataset(tmp_path / "data")
    built = build_engine(transformer, preset="fast", data=data, **SETTINGS, out=tmp_path / "net.onnx")
    assert set(built.report.float_layers) == {"mixed", "scores"}
    assert {region.first: region.integer for region in built.contest.regions}["mixed"] is False
    assert built.contest.more_in_float["mixed"] == pytest.approx(-3.0)
