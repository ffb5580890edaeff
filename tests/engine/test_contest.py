"""What a build hands over is never slower than the float engine, and says what was found."""

import json

import pytest
from small_network import write_dataset, write_small_network
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.backend import StepTime
from jetseg.engine.mixtures import Mixture
from jetseg.engine.onnxruntime.backend import OnnxRuntime
from jetseg.engine.result import EngineRejectedError
from jetseg.errors import ConfigError
from jetseg.network import load_manifest, open_network
from jetseg.quantization.sensitivity import LayerEffect, QuantizerEffect
from jetseg.workflows.building import build_engine

LAYERS = ("n1", "c2", "c3")


@pytest.fixture
def settings(tmp_path):
    data = write_dataset(tmp_path / "data")
    made = {"network": write_small_network(tmp_path), "data": data, "split": "all", "eval_split": "all", "images": 4}
    return {**made, "preset": "fast", "max_drop": 100.0, "max_class_drop": 100.0, "min_agreement": 0.0}


@pytest.fixture
def take(monkeypatch):
    """Gives a function that sets how many milliseconds engines take, by name, and their layers, by engine."""

    def install(whole_ms, layers_ms=None, compared_ms=None):
        def latencies(calls, **_):
            known = compared_ms if compared_ms and "mixed 1" not in calls and asked[0] >= 2 else whole_ms
            asked[0] += 1
            for call in calls.values():
                call()
            return {name: known.get(name, known["int8"]) for name in calls}

        def step_times(_self, engines, _threads):
            found = []
            for engine in engines:
                spent = (layers_ms or {}).get(engine.path.stem, {})
                steps = [StepTime(name, "Conv", spent.get(name, 1.0), 100) for name in LAYERS]
                found.append([StepTime("image", "QuantizeLinear", 1e-4, 100), *steps])
            return found

        asked = [0]
        monkeypatch.setattr("jetseg.engine.trial_engines.quiet_latencies_ms", latencies)
        monkeypatch.setattr(OnnxRuntime, "step_times", step_times)

    return install


def test_float_is_kept_where_8_bits_gain_nothing(settings, take, tmp_path):
    take({"fp32": 4.0, "int8": 6.0})
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    manifest = load_manifest(tmp_path / "e.onnx")
    assert manifest.precision == built.manifest.precision == "fp32"
    assert built.accuracy == built.parent_accuracy
    speed = manifest.stages[-1].settings["speed"]
    assert speed["gain"] == 0.667
    assert set(speed["latencies_ms"]) == {"fp32", "int8"}
    assert not list(tmp_path.glob("*.ranges.json")), "nothing was calibrated for an engine that gains nothing"


def test_it_goes_to_a_place_named_after_its_precision(settings, take, tmp_path, monkeypatch):
    take({"fp32": 4.0, "int8": 6.0})
    monkeypatch.chdir(tmp_path)
    assert build_engine(**settings).path.name == "small.fp32.onnx"


def test_who_asks_for_it_gets_8_bits_all_the_same(settings, take, tmp_path):
    take({"fp32": 4.0, "int8": 6.0})
    built = build_engine(**settings, out=tmp_path / "e.onnx", force=True)
    assert built.manifest.precision == "int8"
    assert built.contest.gain == pytest.approx(4 / 6)


@pytest.mark.long
def test_a_scheme_of_8_bits_gives_way_to_float_as_well(settings, take, tmp_path):
    take({"fp32": 4.0, "int8": 6.0})
    built = build_engine(**settings, out=tmp_path / "e.onnx", scheme="int8")
    assert (built.manifest.precision, built.scheme) == ("fp32", None)


def test_8_bits_are_kept_where_they_gain(settings, take, tmp_path):
    take({"fp32": 6.0, "int8": 3.0})
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    assert built.manifest.precision == "int8"
    assert built.manifest.stages[-1].settings["speed"]["gain"] == 2.0
    assert built.report.integer_layers == LAYERS


def test_a_layer_that_is_faster_in_float_is_in_float(settings, take, tmp_path):
    take({"fp32": 6.0, "int8": 5.0, "mixed 1": 3.0}, {"fp32": {"c2": 0.5}, "int8": {"n1": 0.5, "c3": 0.5}})
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    manifest = load_manifest(tmp_path / "e.onnx")
    assert built.report.integer_layers == ("n1", "c3")
    assert "c2" in manifest.stages[-1].settings["keep_float"]
    regions = manifest.stages[-1].settings["speed"]["regions"]
    assert {region["first"]: region["integer"] for region in regions} == {"n1": True, "c2": False}


def test_a_mixture_that_turns_out_slower_is_not_taken(settings, take, tmp_path):
    take({"fp32": 6.0, "int8": 3.0, "mixed 1": 5.0}, {"fp32": {"c2": 0.5}, "int8": {"n1": 0.5, "c3": 0.5}})
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    assert built.report.integer_layers == LAYERS
    assert "mixed 1" in built.contest.latencies_ms


def test_corrections_of_another_mixture_are_not_built_unseen(settings, take, tmp_path, monkeypatch):
    """They make up for rounding that is not there in a mixture; a gate would see that, and there are no data."""
    (tmp_path / "corrected").mkdir()
    ranges = build_engine(**settings, out=tmp_path / "first.onnx").ranges
    slow = {"fp32": {"c2": 0.5}, "corrected": {"c2": 0.5}, "int8": {"n1": 0.5, "c3": 0.5}}
    take({"fp32": 6.0, "int8": 5.0, "mixed 1": 3.0}, slow)
    unseen = build_engine(settings["network"], ranges=ranges, out=tmp_path / "uncorrected.onnx")
    assert unseen.report.integer_layers == ("n1", "c3"), "nothing was corrected that could be wrong"
    corrected = open_network(write_small_network(tmp_path / "corrected"))
    monkeypatch.setattr("jetseg.quantization.ranges.Ranges.network_for", lambda *_: corrected)
    seen = build_engine(**settings, ranges=ranges, out=tmp_path / "seen.onnx")
    assert seen.report.integer_layers == ("n1", "c3")
    unseen = build_engine(settings["network"], ranges=ranges, out=tmp_path / "unseen.onnx")
    assert unseen.report.integer_layers == LAYERS


@pytest.mark.long
def test_what_accuracy_costs_is_measured_and_told(settings, take, tmp_path, monkeypatch):
    """The gate refuses what has nothing in float for accuracy."""
    take({"fp32": 9.0, "int8": 3.0}, compared_ms={"fp32": 9.0, "int8": 5.0, "before": 3.5})
    refused = iter([("too few pixels",)] * 3)
    monkeypatch.setattr("jetseg.engine.accuracy_gate.agreement_violations", lambda *_: next(refused, ()))
    settings |= {"preset": "accurate", "auto": True}
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    assert len(built.report.integer_layers) < len(LAYERS)
    assert "% of the multiply-accumulates: passed" in built.attempts[-1]
    assert built.contest.record()["less_accurate_ms"] == 3.5
    assert load_manifest(built.path).stages[-1].settings["speed"]["less_accurate_ms"] == 3.5


@pytest.mark.long
def test_layers_in_float_for_accuracy_may_not_make_it_slower_than_float(settings, take, tmp_path):
    """The engine that was compared gained; what passes the gate has more in float, and is compared again."""
    take({"fp32": 4.0, "int8": 3.0}, compared_ms={"fp32": 4.0, "int8": 6.0})
    settings |= {"min_agreement": 99.99, "auto": True, "method": "percentile", "preset": "accurate"}
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    assert built.manifest.precision == "fp32"
    assert not list(tmp_path.glob("*.passed.onnx*"))


def test_what_was_compared_anew_is_what_the_manifest_says(settings, take, tmp_path):
    """Ranges for all on integers, and a mixture that fails the gate: the regions of that are those of no engine."""
    ranges = build_engine(**settings, out=tmp_path / "first.onnx", method="minmax").ranges
    slow = {"fp32": {"c2": 0.5}, "int8": {"n1": 0.5, "c3": 0.5}}
    take({"fp32": 6.0, "int8": 5.0, "mixed 1": 3.0}, slow, compared_ms={"fp32": 6.0, "int8": 4.0})
    given = settings | {"ranges": ranges, "min_agreement": 50.0, "data": settings["data"]}

    judged = iter([("too few pixels",)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jetseg.engine.accuracy_gate.agreement_violations", lambda *_: next(judged, ()))
        built = build_engine(**given, out=tmp_path / "e.onnx")
    assert [attempt.partition(":")[0] for attempt in built.attempts] == ["as asked", "all on integers"]
    assert built.report.integer_layers == LAYERS
    assert built.contest.record() == {"gain": 1.5, "threads": 1, "latencies_ms": {"fp32": 6, "int8": 4}, "regions": []}
    assert load_manifest(built.path).stages[-1].settings["speed"] == built.contest.record()


@pytest.mark.long
def test_layers_that_a_calibration_anew_does_not_have_are_no_mistake(settings, tmp_path, monkeypatch):
    """Corrections add operators, which the next calibration need not make again."""
    harmful = QuantizerEffect("r1.centered", 10.0, ("r1.centered", "c2"))
    effects = [LayerEffect("r1.centered", 10.0, (harmful,)), LayerEffect("c3", 50.0)]
    monkeypatch.setattr("jetseg.engine.blame.layer_sensitivity", lambda *_: effects)
    settings |= {"auto": True, "min_agreement": 100.0, "eval_frames": 2}
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(**settings, out=tmp_path / "e.onnx")
    assert any("nodes in float" in attempt for attempt in caught.value.result.attempts)
    kept = caught.value.result.manifest.stages[-1].settings["keep_float"]
    assert "c2" in kept
    assert "r1.centered" not in kept
    with pytest.raises(ConfigError, match="r1.centered"):
        build_engine(**settings, keep_float=("r1.centered",), out=tmp_path / "e.onnx")


def test_a_network_of_less_than_a_millisecond_is_not_compared(settings, tmp_path):
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    assert built.contest is None
    assert built.manifest.precision == "int8"


def test_the_command_line_says_so(settings, take, tmp_path):
    take({"fp32": 4.0, "int8": 6.0})
    command = ["build-engine", str(settings["network"]), "--data", settings["data"], "--split", "all"]
    command += ["--eval-split", "all", "--images", "4", "--preset", "fast", "--out", str(tmp_path / "e.onnx")]
    command += ["--max-drop", "100", "--max-class-drop", "100", "--min-agreement", "0"]
    told = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "int8 gains nothing here: 0.67; fp32 kept (or --force)." in told
    told = CliRunner().invoke(app, [*command, "--force", "--json"], catch_exceptions=False).stdout
    summary = json.loads(told[told.index("{") :])
    assert summary["precision"] == "int8"
    assert summary["speed"]["latencies_ms"] == {"fp32": 4.0, "int8": 6.0}


def test_where_only_float_passes_it_is_called_float(settings, take, tmp_path, monkeypatch):
    """No layer is on integers in what passes, so it is no int8 engine, whatever was asked for."""
    take({"fp32": 9.0, "int8": 3.0})
    monkeypatch.setattr("jetseg.engine.engine_build.find_mixtures", lambda costs, *_: [everything(costs)])
    settings |= {"min_agreement": 100.0, "auto": True, "method": "percentile", "preset": "accurate", "force": True}
    built = build_engine(**settings, out=tmp_path / "e.onnx")
    manifest = load_manifest(tmp_path / "e.onnx")
    assert (built.float_because, manifest.precision) == ("no mixture", "fp32")
    assert "keep_float" not in manifest.stages[-1].settings
    assert any("nodes in float" in attempt for attempt in built.attempts)
    assert not list(tmp_path.glob("*.passed.onnx*"))


def everything(costs):
    return Mixture(costs.placement.integer_nodes, 0.0)
