"""`--precision auto`: what passes is timed, the fastest is kept, the rest goes."""

import json
import time

import pytest
from small_network import write_dataset, write_small_network
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.config import validate_config
from jetseg.data.dataset import Dataset
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.onnxruntime.runner import OnnxRunner
from jetseg.engine.result import EngineRejectedError
from jetseg.engine.selection import build_fastest
from jetseg.errors import ConfigError
from jetseg.network import load_manifest, open_network


@pytest.fixture
def settings(tmp_path):
    data = write_dataset(tmp_path / "data")
    made = {"model": write_small_network(tmp_path), "data": data, "split": "all", "eval_split": "all", "images": 4}
    return {**made, "preset": "fast", "max_drop": 100.0, "max_class_drop": 100.0, "out": tmp_path / "e.onnx"}


@pytest.fixture
def slow_down(monkeypatch):
    """Gives a function that makes engines of one precision slow."""
    original = OnnxRunner.infer

    def install(precision):
        def infer(self, network_input):
            if self.manifest.precision == precision:
                time.sleep(0.02)
            return original(self, network_input)

        monkeypatch.setattr(OnnxRunner, "infer", infer)

    return install


def contest(settings, **changes):
    values = {**settings, **changes}
    network, data, out = open_network(values.pop("model")), values.pop("data"), values.pop("out")
    config = validate_config(BuildConfig, values)
    dataset = Dataset(data) if data else None
    return build_fastest(network, config, dataset=dataset, out=out, rounds=2, seconds=0.01)


@pytest.mark.long
@pytest.mark.parametrize(("slow", "winner"), [("fp32", "int8"), ("int8", "fp32")])
def test_the_fastest_is_kept_and_tells_how_fast_all_were(settings, slow_down, tmp_path, slow, winner):
    slow_down(slow)
    found = contest(settings)
    assert found.path == settings["out"]
    manifest = load_manifest(settings["out"])
    assert manifest.precision == winner
    assert set(manifest.stages[-1].settings["auto_p50_ms"]) == {"fp32", "int8"}
    assert manifest.stages[-1].settings["auto_p50_ms"][slow] > 20
    assert manifest.accuracy == (found.accuracy,)
    assert list(tmp_path.glob("*.candidate.onnx")) == []
    assert list(tmp_path.glob("*.candidate.onnx.json")) == []
    open_engine(settings["out"]).close()


def test_the_float_network_is_measured_once(settings, monkeypatch):
    from jetseg.engine import accuracy_gate

    original, measured = accuracy_gate.measure_accuracy, []

    def count(*arguments, **named):
        measured.append(named["description"])
        return original(*arguments, **named)

    monkeypatch.setattr(accuracy_gate, "measure_accuracy", count)
    contest(settings)
    assert measured.count("Measuring the float network") == 1


@pytest.mark.long
def test_what_loses_too_much_cannot_win(settings, slow_down, monkeypatch):
    slow_down("fp32")
    monkeypatch.setattr(
        "jetseg.engine.accuracy_gate.accuracy_violations",
        lambda _budget, before, after: ("too much",) if after is not before and after != before else (),
    )
    found = contest(settings)
    assert found.manifest.precision == "fp32"
    assert found.attempts == ("int8: too much", f"fp32: passed, {found.latencies['fp32'].p50_ms:.2f} ms")


def test_if_none_passes_the_last_rejection_is_told(settings, monkeypatch):
    monkeypatch.setattr("jetseg.engine.accuracy_gate.accuracy_violations", lambda *_: ("too much",))
    with pytest.raises(EngineRejectedError, match="too much"):
        contest(settings)
    assert not settings["out"].exists()


def test_without_data_or_on_a_backend_that_does_not_run_it_is_refused(settings):
    with pytest.raises(ConfigError, match="needs data"):
        contest(settings, data=None)
    with pytest.raises(ConfigError, match="do not run here"):
        contest(settings, backend="tensorrt_rtx")


@pytest.mark.long
def test_the_command_line_says_what_became_of_each(settings, tmp_path):
    command = ["build-engine", str(settings["model"]), "--precision", "auto", "--data", settings["data"]]
    command += ["--split", "all", "--eval-split", "all", "--images", "4", "--preset", "fast"]
    command += ["--max-drop", "100", "--max-class-drop", "100", "--out", str(settings["out"])]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert summary["engine"] == str(settings["out"])
    assert [line.split(":")[0] for line in summary["attempts"]] == ["fp32", "int8"]


def test_the_network_is_never_written_over(settings):
    before = settings["model"].read_bytes()
    with pytest.raises(ConfigError, match="is the network itself"):
        contest(settings, out=settings["model"])
    assert settings["model"].read_bytes() == before
