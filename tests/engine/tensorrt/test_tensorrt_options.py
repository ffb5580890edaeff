"""What the options do to builder, engine and runtime, over a double of TensorRT and over the real TensorRT-RTX."""

import numpy as np
import onnx
import pytest
from small_network import small_manifest, small_network, write_dataset, write_small_network
from tensorrt_double import GPU_LABEL
from tensorrt_networks import request

from jetseg.engine.engine import open_engine
from jetseg.engine.tensorrt import plan
from jetseg.engine.tensorrt.backend import TensorRT
from jetseg.engine.tensorrt.build import follow_options_
from jetseg.engine.tensorrt.layers import count_layers
from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.engine.tensorrt.shapes import open_axes, shape_range
from jetseg.engine.tensorrt.source import float_source
from jetseg.errors import ArtifactError, ConfigError, DeviceError
from jetseg.manifest import Stage
from jetseg.network import load_manifest, save_manifest
from jetseg.workflows.building import build_engine

INPUT = np.random.default_rng(0).uniform(-2, 2, (1, 3, 24, 32)).astype(np.float32)
IMPLICIT = {"quantization": "implicit"}


@pytest.fixture
def settings(build_settings):
    return build_settings("tensorrt", "e.engine")


def network_of_open_size(folder, batch=True, size=True):
    """Writes the small network with an input whose sizes are open."""
    model = small_network()
    for axis, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        if (axis == 0 and batch) or (axis > 1 and size):
            dim.dim_param = f"d{axis}"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for _ in range(4):
        model.graph.output[0].type.tensor_type.shape.dim.add()
    path = folder / "open.onnx"
    onnx.save(model, str(path))
    save_manifest(path, small_manifest())
    return path


def test_sparse_weights_and_compatible_versions_are_flags(double, settings):
    made = double()
    build_engine(**settings, options={"sparse_weights": "true", "version_compatible": "true"})
    flags = made.trt.BuilderFlag
    assert {flags.SPARSE_WEIGHTS, flags.VERSION_COMPATIBLE} <= made.settings._flags
    assert made.runtime.engine_host_code_allowed
    build_engine(**settings)
    assert made.settings._flags == {flags.TF32}
    assert not made.runtime.engine_host_code_allowed


@pytest.mark.parametrize(
    ("asked", "level"), [("same-capability", "SAME_COMPUTE_CAPABILITY"), ("ampere-plus", "AMPERE_PLUS")]
)
def test_compatible_hardware_is_a_level(double, settings, asked, level):
    made = double("10.13.3.9")
    build_engine(**settings, options={"hardware": asked})
    assert made.settings.hardware_compatibility_level == made.trt.HardwareCompatibilityLevel[level]


def test_a_level_that_the_version_lacks_is_refused_before_the_build(double, settings):
    made = double("10.3.0")
    with pytest.raises(ConfigError, match=r"10\.3\.0 has no engines for all GPUs of a compute capability"):
        build_engine(**settings, options={"hardware": "same-capability"})
    assert "Builder" not in made.events


@pytest.mark.parametrize(
    ("options", "built_with", "built_on", "opens"),
    [
        ({}, "10.3.0", GPU_LABEL, False),
        ({"version_compatible": "true"}, "10.3.0", GPU_LABEL, True),
        ({"version_compatible": "true"}, "10.16.1.11", GPU_LABEL, False),
        ({"version_compatible": "true"}, "11.4.0.106", GPU_LABEL, False),
        ({}, "10.13.3.9", "Orin (sm_87)", False),
        ({"hardware": "same-capability"}, "10.13.3.9", "Orin (sm_87)", True),
        ({"hardware": "same-capability"}, "10.13.3.9", "A100 (sm_80)", False),
        ({"hardware": "ampere-plus"}, "10.13.3.9", "A100 (sm_80)", True),
    ],
)
def test_an_engine_opens_where_it_was_built_to_open(double, tmp_path, options, built_with, built_on, opens):
    double("10.13.3.9")
    path = tmp_path / "e.engine"
    TensorRT().build(request(write_small_network(tmp_path), small_manifest(), "int8", path, TensorRTOptions()))
    stages = (Stage(name="build-engine", settings={"options": options}),)
    changes = {"kind": "engine", "backend": "tensorrt", "precision": "int8", "stages": stages}
    save_manifest(path, small_manifest().changed(**changes), device=built_on, versions={"tensorrt": built_with})
    if opens:
        open_engine(path).close()
        return
    with pytest.raises(ArtifactError, match="it holds only"):
        open_engine(path)


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_the_dla_runs_half_precision_with_the_gpu_beside_it(double, settings, version):
    made = double(version)
    result = build_engine(**settings, precision="fp16", options={"dla_core": "1"})
    assert made.settings.default_device_type == made.trt.DeviceType.DLA
    assert made.settings.DLA_core == 1
    assert made.trt.BuilderFlag.GPU_FALLBACK in made.settings._flags
    assert made.runtime.DLA_core == 1
    strongly_typed = 1 << int(made.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert made.flags == (strongly_typed if version.startswith("11") else 0)
    assert made.trt.BuilderFlag.__members__.get("FP16", None) in {None, *made.settings._flags}
    assert load_manifest(result.path).stages[-1].settings["options"] == {"dla_core": "1"}


def test_the_dla_takes_int8_in_the_way_that_its_version_has(double, settings):
    double("10.3.0")
    with pytest.raises(ConfigError, match=r"takes no network with explicit quantizers.* quantization=implicit"):
        build_engine(**settings, options={"dla_core": "0"})
    build_engine(**settings, options={"dla_core": "0", **IMPLICIT})
    double("11.4.0.106")
    build_engine(**settings, options={"dla_core": "0"})


@pytest.mark.parametrize(("cores", "core", "said"), [(0, 0, "offers 0 DLA cores.*the GPU runs"), (2, 2, "N below 2")])
def test_a_dla_that_is_not_there_is_told_before_the_build(double, settings, cores, core, said):
    made = double()
    made.dla_cores = cores
    with pytest.raises(DeviceError, match=said):
        build_engine(**settings, precision="fp16", options={"dla_core": str(core)})
    assert "Builder" not in made.events
    assert (made.contexts, made.memory) == (0, {})


@pytest.mark.parametrize(
    ("precision", "options", "said"),
    [
        ("fp32", {"dla_core": "0"}, "fp16 and int8 only"),
        ("fp16", {"dla_core": "0", "max_batch": "2"}, "one fixed shape"),
        ("int8", {"max_batch": "2", **IMPLICIT}, "one fixed shape"),
        ("fp16", {"largest": "12"}, "largest"),
        ("fp16", {"max_batch": "2"}, r"fixed sizes on the axes \[0\]"),
    ],
)
def test_contradictions_are_named(double, settings, precision, options, said):
    double()
    with pytest.raises(ConfigError, match=said):
        build_engine(**settings, precision=precision, options=options)


def test_open_sizes_get_a_profile_and_the_runtime_the_manifests_size(double, tmp_path):
    made = double()
    options = TensorRTOptions(max_batch=4, smallest="12x16", largest="48x64")
    path, model = tmp_path / "e.engine", network_of_open_size(tmp_path)
    TensorRT().build(request(model, small_manifest(), "fp32", path, options))
    (profile,) = made.settings._profiles
    assert profile._shapes == {"image": ((1, 3, 12, 16), (4, 3, 24, 32), (4, 3, 48, 64))}
    changes = {"kind": "engine", "backend": "tensorrt"}
    save_manifest(path, small_manifest().changed(**changes), device=GPU_LABEL)
    runner = open_engine(path)
    np.testing.assert_allclose(runner.infer(INPUT), open_engine(model).infer(INPUT), atol=1e-4)
    runner.close()
    with pytest.raises(ConfigError, match="do not contain the manifest's"):
        TensorRT().build(request(model, small_manifest(), "fp32", path, TensorRTOptions(largest="12x16")))


def test_sizes_that_nobody_asked_for_stay_fixed(double, tmp_path):
    made = double()
    TensorRT().build(
        request(network_of_open_size(tmp_path), small_manifest(), "fp32", tmp_path / "e.engine", TensorRTOptions())
    )
    assert made.settings._profiles == []


@pytest.mark.parametrize("options", [TensorRTOptions(max_batch=4), TensorRTOptions(smallest="12x16", largest="48x64")])
def test_the_real_builder_takes_profile_and_sparsity(tmp_path, options):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    spec = small_manifest().input
    asked = request(network_of_open_size(tmp_path), small_manifest(), "fp32", tmp_path / "e", options)
    model = float_source(asked, open_axes(spec, options)).model
    shapes = shape_range(model, spec, options)

    def sm86(settings):
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(trt.ComputeCapability.SM86, 0)
        follow_options_(settings, trt, TensorRTOptions(sparse_weights=True))
        assert settings.get_flag(trt.BuilderFlag.SPARSE_WEIGHTS)

    assert len(plan.build_plan(trt, model, sm86, shapes=shapes)) > 10_000
    with pytest.raises(ArtifactError, match="not fixed"):
        plan.build_plan(trt, model, sm86)


def test_mapped_memory_needs_no_copies_and_gives_the_same(double, settings):
    made = double()
    copied = open_engine(build_engine(**settings).path)
    expected = copied.infer(INPUT).copy()
    copied.close()
    mapped = open_engine(build_engine(**settings, options={"memory": "mapped"}).path)
    made.events.clear()
    np.testing.assert_array_equal(mapped.infer(INPUT), expected)
    assert made.events == ["push", "set_tensor_address", "execute_async_v3", "synchronize", "run"]
    assert not np.array_equal(mapped.infer(INPUT * 0), expected)
    mapped.close()
    assert (made.memory, made.contexts) == ({}, 0)


def test_settings_from_a_later_jetseg_are_refused_by_name(double, settings):
    double()
    engine = build_engine(**settings).path
    manifest = load_manifest(engine)
    stages = (Stage(name="build-engine", settings={"options": {"magic": "1"}}),)
    save_manifest(engine, manifest.changed(stages=stages), device=manifest.device, versions=manifest.toolchain)
    with pytest.raises(ArtifactError, match="magic"):
        open_engine(engine)


def test_layers_are_counted_by_device_and_hops():
    import json

    layers = [
        {"Name": "in", "LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Row major linear FP32"}]},
        {"Name": "{ForeignNode[a...b]}", "LayerType": "DLA", "Inputs": [{"Format/Datatype": "Channel major FP16"}]},
        {"Name": "dla34.conv", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Int8"}]},
        "only a name",
    ]
    report = count_layers(json.dumps({"Layers": layers}))
    assert report.precisions == {"fp32": 1, "fp16": 1, "int8": 1, "other": 1}
    assert report.devices == {"GPU": 3, "DLA": 1}
    assert report.hops == {"format": 1, "device": 2}
    assert count_layers("not json").devices == {}


def test_the_command_line_tells_the_dla_and_the_hops(double, tmp_path):
    from typer.testing import CliRunner

    from jetseg.cli.main import app

    made = double()
    made.on_dla = {"Conv"}
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    command = ["build-engine", str(model), "--backend", "tensorrt", "--precision", "fp16", "--option", "dla_core=0"]
    command += ["--data", data, "--eval-split", "all", "--out", str(tmp_path / "e.engine")]
    command += ["--max-drop", "100", "--max-class-drop", "100"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "on the DLA, " in done.stdout
    assert "hops between them; 0 change formats" in " ".join(done.stdout.split())
