"""NVIDIA's real parser and builder, which need no GPU: what we render is taken, what is wrong is explained."""

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from small_network import small_manifest, small_network, write_small_network
from tensorrt_networks import request, wrong_graphs
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.engine import open_engine
from jetseg.engine.result import EngineRejectedError
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.engine.tensorrt import plan
from jetseg.engine.tensorrt.interrupt import interruptible
from jetseg.engine.tensorrt.monitor import make_monitor
from jetseg.engine.tensorrt.source import strongly_typed_source
from jetseg.engine.tensorrt_rtx.backend import TensorRTRTX, TensorRTRTXOptions
from jetseg.errors import ArtifactError, ConfigError, DeviceError, MissingDependencyError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import load_manifest
from jetseg.progress import report_progress
from jetseg.shipped import find_artifact, shipped_names
from jetseg.workflows.building import build_engine

REGISTRY = {
    "fast-scnn": {"width": 0.25},
    "ddrnet-23-slim": {"width": 8},
    "efficientnet-lite-fpn": {"width": 16, "deep_blocks": 1},
    "unet": {"width": 8},
    "tiny": {"width": 8},
    "multi-task": {"width": 8},
}
FOREIGN = {
    "camvid_teacher/teacher_camvid_480x360.onnx": (360, 480),
    "espnet_camvid/espnet_p2q8_camvid_480x360.onnx": (360, 480),
    "espnetv2_cityscapes/espnetv2_s0.5_city_512x256.onnx": (256, 512),
    "espnetv2_cityscapes/espnetv2_s2.0_city_512x256.onnx": (256, 512),
    "onnx_peer/SINet.onnx": (320, 320),
    "onnx_peer/light_resnet50.onnx": (224, 224),
    "onnx_peer/light_shufflenet.onnx": (224, 224),
    "onnx_peer/light_squeezenet.onnx": (224, 224),
}

QUICK = (
    "camvid_teacher/teacher_camvid_480x360.onnx",
    "espnet_camvid/espnet_p2q8_camvid_480x360.onnx",
    "onnx_peer/SINet.onnx",
)
SLOW = {True: (), False: (pytest.mark.slow,)}


@pytest.fixture
def trt():
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")


def sm86(trt):
    def configure(settings):
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(trt.ComputeCapability.SM86, 0)

    return configure


@pytest.fixture(scope="module", params=REGISTRY)
def exported(request, tmp_path_factory):
    """Gives a small network of the registry as an ONNX file."""
    torch = pytest.importorskip("torch")
    from jetseg.exporters.onnx_export import export_module
    from jetseg.models import create_model, model_names

    assert set(REGISTRY) == set(model_names())
    torch.manual_seed(0)
    network = create_model(request.param, 5, **REGISTRY[request.param]).eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("registry") / f"{request.param}.onnx"
    onnx.save(export_module(network, torch.zeros(1, 3, 64, 96), "logits"), str(path))
    return path


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_network_of_the_registry_is_built(trt, exported, tmp_path, precision):
    manifest = Manifest(classes=tuple("abcde"), input=InputSpec(height=64, width=96))
    out = tmp_path / "engine.rtx"
    report = TensorRTRTX().build(request(exported, manifest, precision, out, TensorRTRTXOptions()))
    assert out.stat().st_size > 10_000
    layers = report.integer_layers if precision == "int8" else report.float_layers
    assert len(layers) > 5
    assert not (report.float_layers if precision == "int8" else report.integer_layers)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_network_from_frame_to_class_map_is_built(trt, tmp_path, precision):
    torch = pytest.importorskip("torch")
    from jetseg.exporters.graph_ends import DeployedNetwork
    from jetseg.exporters.onnx_export import example_input, export_module
    from jetseg.models import create_model

    torch.manual_seed(0)
    spec = InputSpec(height=64, width=96, kind="frame", mean=(127.0,) * 3, std=(64.0,) * 3)
    network = create_model("tiny", 5, width=8).eval().requires_grad_(False)
    deployed = DeployedNetwork(network, spec, "frame", "classmap").eval()
    path = tmp_path / "network.onnx"
    onnx.save(export_module(deployed, example_input(spec), "classmap"), str(path))
    out = tmp_path / "e.rtx"
    TensorRTRTX().build(
        request(path, Manifest(classes=tuple("abcde"), input=spec), precision, out, TensorRTRTXOptions())
    )
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW[name in QUICK]) for name in FOREIGN])
def test_foreign_networks_are_built(trt, shared_dir, tmp_path, name, precision):
    height, width = FOREIGN[name]
    manifest = Manifest(classes=("a",), input=InputSpec(height=height, width=width))
    out = tmp_path / "engine.rtx"
    TensorRTRTX().build(request(shared_dir / "models" / name, manifest, precision, out, TensorRTRTXOptions()))
    assert out.stat().st_size > 10_000


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", shipped_names())
def test_shipped_networks_are_built(trt, tmp_path, name, precision):
    model = find_artifact(Path(f"{name}.onnx"))
    out = tmp_path / "engine.rtx"
    report = TensorRTRTX().build(request(model, load_manifest(model), precision, out, TensorRTRTXOptions()))
    assert out.stat().st_size > 10_000
    assert bool(report.integer_layers) == (precision == "int8")


@pytest.mark.parametrize("name", list(FOREIGN)[:2])
def test_int8_with_half_precision_beside_it_is_built(trt, shared_dir, tmp_path, name):
    height, width = FOREIGN[name]
    manifest = Manifest(classes=("a",), input=InputSpec(height=height, width=width))
    asked = request(shared_dir / "models" / name, manifest, "int8", tmp_path / "e", TensorRTRTXOptions())
    source = strongly_typed_source(asked, half_rest=True)
    kinds = {tensor.data_type for tensor in source.model.graph.initializer if tensor.name.endswith(".scale")}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert len(plan.build_plan(trt, source.model, sm86(trt))) > 10_000


@pytest.mark.parametrize("name", wrong_graphs())
def test_wrong_graphs_are_explained_in_a_line(trt, name):
    model, expected = wrong_graphs()[name]
    with pytest.raises(ArtifactError, match=expected) as caught:
        plan.build_plan(trt, model, sm86(trt))
    assert all(len(line) < 220 for line in str(caught.value).splitlines())


def test_an_open_size_is_fixed_by_the_manifest(trt, tmp_path):
    model = small_network()
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, "nchw", strict=True):
        dim.dim_param = name
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, str(tmp_path / "open.onnx"))
    out = tmp_path / "e.rtx"
    TensorRTRTX().build(request(tmp_path / "open.onnx", small_manifest(), "int8", out, TensorRTRTXOptions()))
    assert out.stat().st_size > 10_000


def test_the_target_decides_what_is_built(trt, tmp_path):
    model = write_small_network(tmp_path)
    plans = {}
    for target in ("sm75", "SM86", "sm120"):
        out = tmp_path / f"{target}.rtx"
        TensorRTRTX().build(request(model, small_manifest(), "int8", out, TensorRTRTXOptions(target=target)))
        plans[target] = out.read_bytes()
    assert len(set(plans.values())) == 3
    with pytest.raises(ConfigError, match=r"'sm87' is an unknown target .* Choose from: sm75, sm80, sm86"):
        TensorRTRTX().check("int8", TensorRTRTXOptions(target="sm87"))


def test_the_library_ends_a_build_when_the_monitor_says_so(trt):
    builder = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, trt.Logger()).parse(small_network().SerializeToString())
    settings = builder.create_builder_config()
    sm86(trt)(settings)
    for interrupted in (True, False):
        monitor = make_monitor(trt, lambda pressed=interrupted: pressed)
        settings.progress_monitor = monitor
        assert (builder.build_serialized_network(network, settings) is None) == interrupted


def test_ctrl_c_ends_a_build(trt, monkeypatch):
    @contextmanager
    def pressed():
        with interruptible() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            yield interrupted

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(plan, "interruptible", pressed)
    with pytest.raises(KeyboardInterrupt):
        plan.build_plan(trt, small_network(), sm86(trt))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_of_who_follows_progress_is_raised_after_the_build(trt):
    def broken(_task):
        raise OSError("the terminal is gone")

    with report_progress(broken), pytest.raises(OSError, match="the terminal is gone"):
        plan.build_plan(trt, small_network(), sm86(trt))


@pytest.fixture
def settings(build_settings):
    return build_settings("tensorrt_rtx", "e.rtx")


def test_an_engine_that_cannot_run_here_is_judged_by_simulation_and_says_so(trt, settings, tmp_path):
    result = build_engine(**settings)
    manifest = load_manifest(result.path)
    assert manifest.accuracy == (result.accuracy,)
    assert result.accuracy.simulated
    assert not result.parent_accuracy.simulated
    assert manifest.device == "NVIDIA GPU, sm86"
    assert manifest.toolchain["tensorrt-rtx"] == trt.__version__
    assert "does not run them" in result.report.not_run_here
    with pytest.raises(DeviceError, match="TensorRT-RTX engine"):
        open_engine(result.path)


def test_the_simulation_gates(trt, settings, tmp_path):
    build_engine(**settings)
    ranges = tmp_path / "e.rtx.ranges.json"
    content = json.loads(ranges.read_text())
    for key in ("low", "high", "amax"):
        content["tensors"]["both"][key] *= 0.001
    ranges.write_text(json.dumps(content))
    strict = {**settings, "ranges": ranges, "max_drop": 0.0, "max_class_drop": 0.0, "out": tmp_path / "bad.rtx"}
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(**strict)
    assert caught.value.result.accuracy.simulated
    assert caught.value.result.sensitive_layers[0].layer == "c3"
    assert not (tmp_path / "bad.rtx").exists()


def test_layers_stay_in_float_in_the_plan_and_in_the_simulation(trt, settings, tmp_path):
    result = build_engine(**settings, keep_float=("c3", "n1", "c2", "c4"))
    assert result.report.integer_layers == ()
    assert result.accuracy.miou == result.parent_accuracy.miou
    ranges = tmp_path / "e.rtx.ranges.json"
    simulate_tensorrt(result.ranges, keep_float=frozenset({"c3"})).close()
    with pytest.raises(ConfigError, match="no layer nonsense"):
        build_engine(**{**settings, "ranges": ranges}, keep_float=("nonsense",))


def test_half_precision_is_built_and_says_that_nothing_was_measured(trt, settings):
    result = build_engine(**settings, precision="fp16")
    assert result.accuracy is None
    assert load_manifest(result.path).accuracy == ()


def test_options_that_the_backend_lacks_are_refused(settings):
    with pytest.raises(ConfigError, match="workspace_mb"):
        build_engine(**settings, options={"workspace_mb": "3"})


def test_without_the_library_the_extra_is_named(monkeypatch, settings):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"\[rtx\]"):
        build_engine(**settings)


def test_the_command_line_says_that_the_accuracy_is_simulated(trt, settings, tmp_path):
    command = ["build-engine", str(settings["network"]), "--backend", "tensorrt_rtx", "--target", "sm89", "--data"]
    command += [settings["data"], "--split", "all", "--eval-split", "all", "--images", "4", "--preset", "fast"]
    command += ["--max-drop", "100", "--max-class-drop", "100", "--out", str(tmp_path / "e.rtx")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "predicted by exact simulation, not measured" in done.stdout
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert summary["accuracy"]["simulated"] is True
    assert "does not run them" in summary["not_run_here"]
    assert load_manifest(tmp_path / "e.rtx").device == "NVIDIA GPU, sm89"


def test_a_rejected_engine_that_cannot_run_here_ends_with_1_and_without_a_page(trt, settings, tmp_path, caplog):
    command = ["build-engine", str(settings["network"]), "--backend", "tensorrt_rtx", "--data", settings["data"]]
    command += ["--split", "all", "--eval-split", "all", "--images", "4", "--preset", "fast", "--method", "entropy"]
    done = CliRunner().invoke(
        app, [*command, "--max-drop", "0", "--max-class-drop", "0", "--out", str(settings["out"])]
    )
    assert isinstance(done.exception, EngineRejectedError)
    assert "No report" in caplog.text
    assert not list(tmp_path.glob("*.html"))
