"""Tables are measured, gone on with and read; what they predict is told with an interval, in JSON too."""

import json

import pytest
from device import network as device_network
from device import table as device_table
from small_kit import make_keys, make_kit
from small_network import small_network, write_small_network
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.backend import find_backend
from jetseg.engine.measuring import Measurement
from jetseg.errors import ArtifactError, ConfigError, JetsegError
from jetseg.latency.table import read_table, write_table
from jetseg.network import open_network
from jetseg.provenance import device_name, toolchain
from jetseg.workflows import latency
from jetseg.workflows.latency import measure_layers, open_latency_model, predict_latency


@pytest.fixture
def measured(monkeypatch):
    """Gives the networks that were measured, in order; the machine takes no part."""
    asked = []

    def measure_network(network, backend, precision, threads):
        name = network if isinstance(network, int) else network.name
        if len(asked) == measured_at_most[0]:
            raise KeyboardInterrupt
        asked.append(name)
        return Measurement(1.5, tuple((unit, 0.1) for unit in device_network(len(asked))))

    measured_at_most = [100]
    monkeypatch.setattr(latency, "measure_network", measure_network)
    return asked, measured_at_most


@pytest.fixture
def table_file(tmp_path):
    place = tmp_path / "table.json"
    write_table(place, device_table(14))
    return place


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_is_of_this_machine_and_an_interrupted_one_is_gone_on_with(measured, tmp_path):
    asked, at_most = measured
    network, place = write_small_network(tmp_path), tmp_path / "table.json"
    at_most[0] = 2
    with pytest.raises(KeyboardInterrupt):
        measure_layers([network], out=place, sweep=3, seed=7)
    assert asked == ["small", 7]
    at_most[0] = 100
    table = measure_layers([network], out=place, sweep=3, seed=7)
    assert asked == ["small", 7, 8, 9]
    assert read_table(place) == table
    assert (table.target, table.device, table.power_mode) == ("cpu", device_name(), None)
    assert (table.backend, table.version) == ("onnxruntime", toolchain()["onnxruntime"])
    assert [network.ms for network in table.networks] == [1.5] * 4
    assert measure_layers([network], out=place, sweep=3, seed=7) == table
    assert len(asked) == 4


def test_a_kit_carries_its_network_to_the_device_and_the_table_goes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("jetseg.engine.measuring._ROUNDS", 1)
    monkeypatch.setattr("jetseg.engine.onnxruntime.step_times._MOST_RUNS", 5)
    kit, place = make_kit(tmp_path, ranges=False), tmp_path / "table.json"
    done = call("measure-layers", kit, "--sweep", 0, "--out", place)
    assert done.exit_code == 0, done.output
    table, packed = read_table(place), open_network(tmp_path / "small.onnx")
    assert [network.name for network in table.networks] == [f"small {packed.sha256[:12]}"]
    assert set(table.units) == {str(unit) for unit in find_backend("onnxruntime").units(packed, "fp32")}
    # here, where the network itself lies, its row is known
    assert measure_layers([packed], out=place, sweep=0) == table


def test_a_kit_that_the_key_did_not_sign_is_not_measured(tmp_path):
    pytest.importorskip("minisign")
    kit, (_, public) = make_kit(tmp_path, ranges=False), make_keys(tmp_path)
    with pytest.raises(ArtifactError, match="signature"):
        measure_layers([kit], out=tmp_path / "table.json", sweep=0, key=public)
    assert not (tmp_path / "table.json").exists()


def test_a_table_of_something_else_is_not_gone_on_with(measured, tmp_path):
    place = tmp_path / "table.json"
    measure_layers(out=place, sweep=1)
    with pytest.raises(ConfigError, match="precision: fp32 in the table, int8 asked for"):
        measure_layers(out=place, sweep=1, precision="int8")
    write_table(place, device_table(1, version="0.1"))
    with pytest.raises(ConfigError, match=r"version: 0\.1 in the table"):
        measure_layers(out=place, sweep=1)


def test_nothing_to_measure_is_told(tmp_path):
    with pytest.raises(ConfigError, match="nothing to measure"):
        measure_layers(out=tmp_path / "table.json", sweep=0)


def test_the_real_backend_fills_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr("jetseg.engine.measuring._ROUNDS", 1)
    monkeypatch.setattr("jetseg.engine.onnxruntime.step_times._MOST_RUNS", 5)
    done = call("measure-layers", write_small_network(tmp_path), "--sweep", 0, "--out", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    (network,) = read_table(tmp_path / "t.json").networks
    assert network.ms > 0
    assert len(network.steps) > 4


@pytest.mark.long
def test_a_latency_comes_with_its_interval_as_json(table_file, tmp_path):
    pytest.importorskip("sklearn")
    done = call("latency", write_small_network(tmp_path), "--table", table_file, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert 0 < found["low"] < found["latency_ms"] < found["high"]
    assert (found["source"], found["coverage"]) == ("table", 90)
    # this table was not measured with ONNX Runtime, whose operators have other names
    assert found["note"].startswith("The table has no ")
    told = call("latency", tmp_path / "small.onnx", "--table", table_file)
    assert "predicted from a table, not measured" in told.output.replace("\n", " ")


def test_a_latency_without_a_table_is_rough(tmp_path):
    network = write_small_network(tmp_path)
    found = predict_latency(network, target="orin-nx-16gb")
    assert found.source == "roofline"
    assert found.note.startswith("Rough")
    faster = predict_latency(network, target="orin-nx-16gb-super")
    assert faster.latency_ms < found.latency_ms
    done = call("latency", network, "--target", "orin-nx-16gb", "--precision", "int8", "--json")
    assert json.loads(done.stdout)["source"] == "roofline"


def test_neither_table_nor_target_is_told(tmp_path):
    done = call("latency", write_small_network(tmp_path))
    assert isinstance(done.exception, JetsegError)
    assert "nothing to predict from" in str(done.exception)


def test_a_table_of_another_processor_is_not_taken_for_this_one():
    with pytest.raises(ConfigError, match="device: a device in the table"):
        open_latency_model(table=device_table(14, target="cpu"), target="cpu")


@pytest.mark.long
def test_one_model_serves_many_networks(table_file, tmp_path):
    pytest.importorskip("sklearn")
    model = open_latency_model(table=table_file)
    network = open_network(write_small_network(tmp_path))
    assert predict_latency(network, model=model) == predict_latency(network, table=table_file)


@pytest.mark.long
def test_what_pruning_is_told_comes_from_the_table(monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    torch = pytest.importorskip("torch")
    from jetseg.compress.config import PruneConfig
    from jetseg.workflows import speed_meter

    place = tmp_path / "orin.json"
    write_table(place, device_table(14, backend="tensorrt", version="10.3.0", target="orin-nano-8gb", power_mode="15W"))
    monkeypatch.setattr(speed_meter, "_export", lambda module, manifest: small_network())
    settings = {"speedup": 2, "backend": "tensorrt", "latency_table": place, "target": "orin-nano-8gb"}
    network = open_network(write_small_network(tmp_path))
    meter = speed_meter.speed_meter(network, PruneConfig(**settings))
    (ms,) = meter.networks_ms([torch.nn.Identity()])
    estimate = predict_latency(network, table=place)
    assert ms == estimate.latency_ms
    assert meter.source.startswith("predicted for a device, 15W, tensorrt 10.3.0")
    assert f"between {estimate.low:.2f} and {estimate.high:.2f} ms" in meter.source
    for change in ({"target": "orin-nx-16gb"}, {"backend": "onnxruntime"}, {"precision": "int8"}):
        with pytest.raises(ConfigError, match="latency table is of something else"):
            speed_meter.speed_meter(network, PruneConfig(**{**settings, **change}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"target": "thor", "speedup": 2}, "there is none"), ({"latency_table": "t.json"}, "latency_table needs speedup")],
)
def test_a_table_without_a_use_is_refused(settings, message):
    pytest.importorskip("torch")
    from jetseg.compress.config import PruneConfig

    with pytest.raises(ValueError, match=message):
        PruneConfig(**settings)


@pytest.mark.slow
def test_a_network_is_pruned_for_a_device_that_is_not_here(tmp_path):
    pytest.importorskip("sklearn")
    from test_prune_stage import save

    place = tmp_path / "orin.json"
    write_table(place, device_table(40, backend="tensorrt", version="10.3.0", target="orin-nano-8gb", power_mode="15W"))
    checkpoint = save(tmp_path / "dense.safetensors", ("a", "b", "c"), "tiny")
    asked = ("--latency-table", place, "--target", "orin-nano-8gb", "--backend", "tensorrt", "--speedup", 1.5, "--json")
    done = call("prune", checkpoint, *asked, "--out", tmp_path / "small.safetensors")
    assert done.exit_code == 0, done.output
    speed = json.loads(done.stdout)["speed"]
    assert 1.4 <= speed["parent_ms"] / speed["pruned_ms"] <= 1.7
    assert speed["source"].startswith("predicted for a device, 15W, tensorrt 10.3.0")
