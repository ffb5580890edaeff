"""The builder's logic, over a double of TensorRT; nothing here says what a real device does."""

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from small_network import small_manifest, small_network, write_dataset, write_small_network
from tensorrt_double import GPU_LABEL
from tensorrt_networks import graph, request

from jetseg.config import changed, validate_config
from jetseg.data.dataset import Dataset, open_split
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.selection import build_fastest
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.engine.tensorrt.backend import TensorRT
from jetseg.engine.tensorrt.calibrator import make_calibrator
from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.engine.tensorrt.source import strongly_typed_source
from jetseg.engine.tensorrt.timing import timing_cache_path
from jetseg.errors import ArtifactError, ConfigError, DeviceError, MissingDependencyError
from jetseg.network import load_manifest, open_network, save_manifest
from jetseg.preprocess import Preprocessor
from jetseg.quantization.tensorrt.cache import parse_cache
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate

VERSIONS = ("10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")
IMPLICIT = {"quantization": "implicit"}


@pytest.fixture
def settings(build_settings):
    return build_settings("tensorrt", "e.engine")


@pytest.mark.parametrize("version", VERSIONS)
def test_explicit_int8_end_to_end_is_what_the_simulation_says(double, settings, tmp_path, version):
    made = double(version)
    result = build_engine(**settings)
    manifest = load_manifest(result.path)
    assert manifest.device == GPU_LABEL
    assert (manifest.toolchain["tensorrt"], manifest.toolchain["cuda"]) == (version, "12.6")
    assert not result.accuracy.simulated
    assert made.flags == 1 << int(made.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert result.report.layer_precisions["int8"] == 4
    engine, exact = open_engine(result.path).segment, simulate_tensorrt(result.ranges).segment
    for sample in open_split(settings["data"], "all"):
        np.testing.assert_array_equal(engine(sample.image_hwc_u8), exact(sample.image_hwc_u8))


def test_the_driver_is_asked_before_any_object_is_made(double, settings):
    made = double()
    build_engine(**settings)
    assert made.events[0] == "probe"
    assert made.events.index("push") < made.events.index("Builder")
    assert (made.contexts, made.memory, made.current.depth) == (0, {}, 0)


def test_settings_reach_the_builder(double, settings, tmp_path):
    made = double()
    options = {"workspace_mb": "512", "optimization_level": "5"}
    build_engine(**settings, options=options)
    assert made.settings._pools == {made.trt.MemoryPoolType.WORKSPACE: 512 << 20}
    assert made.settings.builder_optimization_level == 5
    assert made.settings.profiling_verbosity == made.trt.ProfilingVerbosity.DETAILED
    assert made.settings._flags == {made.trt.BuilderFlag.TF32}
    build_engine(**settings, options={"sparse_weights": "true"})
    assert made.settings._flags == {made.trt.BuilderFlag.TF32, made.trt.BuilderFlag.SPARSE_WEIGHTS}
    build_engine(**settings, precision="fp32")
    assert made.settings._pools == {made.trt.MemoryPoolType.WORKSPACE: made.free_bytes // 2}
    assert made.settings._flags == set()
    assert load_manifest(tmp_path / "e.engine").accuracy[0].miou is not None


def test_timings_are_kept_per_device_and_version(double, settings, tmp_path):
    made = double()
    path = timing_cache_path(tensorrt_facts(), "10.3.0")
    build_engine(**settings, precision="fp32")
    assert path.read_bytes() == b"timed "
    build_engine(**settings, precision="fp32")
    assert path.read_bytes() == b"timed timed "
    path.write_bytes(b"damaged")
    build_engine(**settings, precision="fp32")
    assert path.read_bytes() == b"timed "
    assert path.is_relative_to(tmp_path / "cache")
    assert made.trt.__version__ in path.name


def tensorrt_facts():
    from jetseg.engine.tensorrt.gpu import GpuFacts

    return GpuFacts("Double GPU", (8, 7), "12.6")


@pytest.mark.parametrize(
    ("asked", "free_mb", "said"), [(None, 10, "10 MB of memory free"), (3000, 2000, "needs 3000 MB")]
)
def test_too_little_memory_is_found_before_the_build(double, settings, asked, free_mb, said):
    made = double()
    made.free_bytes = free_mb << 20
    with pytest.raises(DeviceError, match=said):
        build_engine(**settings, options={"workspace_mb": str(asked)} if asked else {})
    assert "build_serialized_network" not in made.events
    assert (made.contexts, made.memory) == (0, {})


def test_a_build_that_runs_out_of_memory_leaves_no_engine(double, settings):
    made = double()
    made.failing.add("build_serialized_network")
    with pytest.raises(DeviceError, match="device's memory does not suffice"):
        build_engine(**settings)
    assert not settings["out"].exists()
    assert made.contexts == 0


def test_a_refused_node_is_named(double, tmp_path):
    double()
    model = tmp_path / "strange.onnx"
    node = onnx.helper.make_node("Frobnicate", ["image"], ["out"])
    onnx.save(graph([node], {}, (1, 3, 24, 32)), str(model))
    with pytest.raises(ArtifactError, match=r"out \(Frobnicate\): TensorRT has no such operator"):
        TensorRT().build(request(model, small_manifest(), "fp32", tmp_path / "e", TensorRTOptions()))


@pytest.mark.parametrize("version", VERSIONS[:3])
def test_implicit_int8_reads_the_scales_of_the_ranges_file(double, settings, version):
    made = double(version)
    result = build_engine(**settings, options=IMPLICIT)
    cache = parse_cache(made.cache.decode())
    assert cache.version == ".".join(version.split(".")[:3])
    assert set(cache.amax) >= {"image", "r1", "both"}
    assert {made.trt.BuilderFlag.INT8, made.trt.BuilderFlag.FP16} <= made.settings._flags
    assert made.flags == 0
    assert (result.report.integer_layers, result.report.float_layers) == ((), ())  # only TensorRT knows
    assert result.manifest.stages[-1].settings["options"] == IMPLICIT


def test_implicit_int8_fed_with_frames(double, settings, tmp_path):
    made = double()
    options = {**IMPLICIT, "calibration_data": settings["data"], "calibration_split": "all", "calibration_images": "3"}
    options["calibration_cache"] = str(tmp_path / "found.cache")
    build_engine(**settings, options=options)
    dataset = open_split(settings["data"], "all")
    preprocess = Preprocessor(small_manifest().input)
    expected = [preprocess(dataset[index].image_hwc_u8).copy() for index in (0, 2, 4)]
    assert len(made.batches) == 3
    assert parse_cache((tmp_path / "found.cache").read_text()).version == "10.3.0"
    assert (made.contexts, made.memory) == (0, {})
    for batch, frame in zip(made.batches, expected, strict=True):
        np.testing.assert_array_equal(batch, frame)


def test_what_a_callback_raised_is_raised_after_the_build(double, settings, tmp_path):
    made = double()
    (tmp_path / "data" / "images" / "002.png").write_bytes(b"no picture")
    options = {**IMPLICIT, "calibration_data": settings["data"], "calibration_split": "all"}
    ranges = {"precision": "int8", "data": None, "ranges": good_ranges(double, settings, tmp_path)}
    with pytest.raises(Exception, match=r"002\.png"):
        build_engine(**{**settings, **ranges}, options=options)
    assert made.swallowed == []
    assert (made.contexts, made.memory) == (0, {})
    assert not settings["out"].exists()


def good_ranges(double, settings, tmp_path):
    data = write_dataset(tmp_path / "good")
    return calibrate(settings["network"], data=data, split="all", out=tmp_path / "good.json", preset="fast")


def test_a_cache_that_is_not_taken_is_told(double, settings):
    made = double()
    made.distrust_cache = True
    with pytest.raises(ArtifactError, match="did not take the calibration cache"):
        build_engine(**settings, options=IMPLICIT)


def test_frames_for_a_network_with_two_inputs_are_refused(double):
    calibrator = make_calibrator(double().trt, next_frame=lambda: 1)
    assert calibrator.get_batch(["image"]) == [1]
    assert calibrator.get_batch(["image", "other"]) is None
    assert "2 inputs: image, other" in str(calibrator.error)
    calibrator.write_calibration_cache(memoryview(b"found"))
    assert calibrator.written == b"found"


def test_implicit_int8_ended_with_version_10(double, settings):
    made = double("11.4.0.106")
    with pytest.raises(ConfigError, match=r"11\.4\.0\.106 has no calibrators"):
        build_engine(**settings, options=IMPLICIT)
    assert "Builder" not in made.events
    build_engine(**settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"calibration_data": "camvid:x"}, "for quantization=implicit"),
        ({"calibration_cache": "x"}, "for quantization=implicit"),
        ({**IMPLICIT, "calibration_cache": "x"}, "give that too"),
        ({**IMPLICIT, "rest": "fp16"}, "explicitly quantized"),
        ({"optimization_level": "9"}, "optimization_level"),
        ({"quantization": "magic"}, "quantization"),
        ({"target": "sm86"}, "target"),
    ],
)
def test_wrong_options_are_named(double, settings, options, said):
    double()
    with pytest.raises(ConfigError, match=said):
        build_engine(**settings, options=options)


def test_layers_stay_in_float_in_explicit_quantization_only(double, settings):
    double()
    result = build_engine(**settings, keep_float=("c3",))
    assert result.report.float_layers == ("c3",)
    assert result.report.layer_precisions["int8"] == 4  # the double calls every convolution so
    with pytest.raises(ConfigError, match="keeps no single layers"):
        build_engine(**settings, keep_float=("c3",), options=IMPLICIT)


def test_half_precision_is_strongly_typed(double, settings):
    made = double("11.4.0.106")
    result = build_engine(**settings, precision="fp16")
    assert made.flags == 1
    assert result.accuracy.miou == pytest.approx(result.parent_accuracy.miou, abs=0.5)


def test_without_tensorrt_the_next_step_is_told_at_once(monkeypatch, settings):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match="JetPack") as caught:
        build_engine(**settings)
    assert caught.value.exit_code == 3


def test_without_a_driver_no_object_of_tensorrt_is_made(double, settings, monkeypatch):
    from jetseg.engine.tensorrt import gpu

    original = gpu.probe_driver
    made = double()

    def none(_name):
        raise OSError("not found")

    monkeypatch.setattr(gpu.ctypes, "CDLL", none)
    monkeypatch.setattr("jetseg.engine.tensorrt.build.probe_driver", original)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver: libcuda\.so\.1"):
        build_engine(**settings)
    assert made.events == []


def test_a_driver_that_does_not_answer(monkeypatch):
    from types import SimpleNamespace

    from jetseg.engine.tensorrt import gpu

    driver = SimpleNamespace(cuInit=lambda _flags: 999, cuDeviceGetCount=lambda _count: 0)
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda _name: driver)
    with pytest.raises(DeviceError, match="CUDA error 999"):
        gpu.probe_driver()
    driver.cuInit = lambda _flags: 0
    with pytest.raises(DeviceError, match="sees no GPU"):
        gpu.probe_driver()


def test_without_pycuda_the_extra_is_named_before_any_work(double, monkeypatch, settings):
    made = double()
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingDependencyError, match=r"\[tensorrt\]"):
        build_engine(**settings)
    assert made.events == ["probe"]


def test_int8_with_half_precision_beside_it(double, settings, tmp_path):
    double()
    onnx.save(small_network(opset=19), str(settings["network"]))  # the first with scales in half precision
    save_manifest(settings["network"], small_manifest())
    single = build_engine(**settings)
    half = build_engine(**settings, options={"rest": "fp16"})
    assert half.manifest.sha256 != single.manifest.sha256
    assert half.accuracy.miou == pytest.approx(single.accuracy.miou, abs=1.0)


def test_a_scale_that_half_precision_cannot_hold_is_refused(tmp_path):
    model = write_small_network(tmp_path)
    asked = request(model, small_manifest(), "int8", tmp_path / "e", TensorRTOptions())
    tensors = {**asked.ranges.tensors, "image": changed(asked.ranges.tensors["image"], amax=1e-6)}
    asked = replace(asked, ranges=changed(asked.ranges, tensors=tensors))
    strongly_typed_source(asked)
    with pytest.raises(ArtifactError, match=r"image\.scale is 7\.87e-09, which half precision cannot hold"):
        strongly_typed_source(asked, half_rest=True)


def test_the_fastest_of_all_precisions_is_kept(double, settings, tmp_path):
    def contest(**changes):
        config = validate_config(BuildConfig, {**budgets, **changes})
        return build_fastest(network, config, dataset=dataset, out=settings["out"], rounds=1, seconds=0.01)

    onnx.save(small_network(opset=19), str(settings["network"]))  # the first with scales in half precision
    save_manifest(settings["network"], small_manifest())
    network, dataset = open_network(settings["network"]), Dataset(settings["data"])
    budgets = {key: value for key, value in settings.items() if key in BuildConfig.model_fields}
    made = double()
    found = contest()
    assert set(found.latencies) == {"fp32", "fp16", "int8", "int8-fp16"}
    assert load_manifest(settings["out"]).stages[-1].settings["auto_p50_ms"].keys() == found.latencies.keys()
    assert not list(tmp_path.glob("*.candidate.engine"))
    found = contest(options={"dla_core": "0"})
    assert set(found.latencies) == {"fp16"}
    assert "fp32: left out. The DLA computes in fp16 and int8 only." in found.attempts
    assert (made.contexts, made.memory) == (0, {})
