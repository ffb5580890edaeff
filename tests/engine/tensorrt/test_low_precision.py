"""Plans in bfloat16 and in 8-bit floats: NVIDIA's real parser and builder take them, simulation judges them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from small_network import small_manifest, write_small_network
from tensorrt_double import GPU_LABEL
from tensorrt_networks import graph, request, rough_ranges

from jetseg.engine.backend import BuildRequest
from jetseg.engine.engine import open_engine
from jetseg.engine.result import EngineRejectedError
from jetseg.engine.simulation import simulate, simulate_bfloat16, simulate_tensorrt
from jetseg.engine.tensorrt.backend import TensorRT
from jetseg.engine.tensorrt.layers import count_layers
from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.engine.tensorrt.source import strongly_typed_source
from jetseg.engine.tensorrt_rtx.backend import TensorRTRTX, TensorRTRTXOptions
from jetseg.errors import ConfigError, DeviceError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import load_manifest, open_network
from jetseg.onnx.bfloat import to_bfloat16_
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session
from jetseg.quantization.qdq.schemes import SCHEMES
from jetseg.quantization.ranges import open_ranges
from jetseg.quantization.render import write_qdq
from jetseg.quantization.tensorrt.rules import check_qdq
from jetseg.shipped import find_artifact, shipped_names
from jetseg.workflows.building import build_engine
from jetseg.workflows.rendering import render

TARGETS = {"fp8": "sm120", "bf16": "sm86"}


@pytest.fixture
def trt():
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")


@pytest.fixture
def settings(build_settings):
    return build_settings("tensorrt_rtx", "e.rtx")


def asked(model, manifest, precision, out, target) -> BuildRequest:
    found = request(model, manifest, precision, out, TensorRTRTXOptions(target=target))
    if precision != "fp8":
        return found
    ranges = rough_ranges(model, manifest.input)
    return BuildRequest(found.network, "fp8", ranges, out, options=found.options, scheme="fp8")


@pytest.mark.parametrize("precision", TARGETS)
@pytest.mark.parametrize("name", shipped_names())
def test_shipped_networks_are_built(trt, tmp_path, name, precision):
    model, out = find_artifact(Path(f"{name}.onnx")), tmp_path / "e.rtx"
    report = TensorRTRTX().build(asked(model, load_manifest(model), precision, out, TARGETS[precision]))
    assert out.stat().st_size > 10_000
    assert bool(report.integer_layers) == (precision == "fp8")


@pytest.mark.parametrize("precision", TARGETS)
@pytest.mark.parametrize(
    "name",
    [
        "espnet_camvid/espnet_p2q8_camvid_480x360.onnx",
        pytest.param("camvid_teacher/teacher_camvid_480x360.onnx", marks=pytest.mark.slow),
        pytest.param("onnx_peer/SINet.onnx", marks=pytest.mark.slow),
    ],
)
def test_foreign_networks_are_built(trt, shared_dir, tmp_path, name, precision):
    model = shared_dir / "models" / name
    shape = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    manifest = Manifest(classes=("a",), input=InputSpec(height=shape[2].dim_value, width=shape[3].dim_value))
    TensorRTRTX().build(asked(model, manifest, precision, tmp_path / "e.rtx", TARGETS[precision]))
    assert (tmp_path / "e.rtx").stat().st_size > 10_000


def test_8_bit_floats_with_half_precision_beside_them_are_built(trt, tmp_path):
    def configure(made):
        made.num_compute_capabilities = 1
        made.set_compute_capability(trt.ComputeCapability.SM120, 0)

    wanted = asked(write_small_network(tmp_path), small_manifest(), "fp8", tmp_path / "e", "sm120")
    source = strongly_typed_source(wanted, half_rest=True)
    kinds = {tensor.name.rsplit(".", 1)[-1]: tensor.data_type for tensor in source.model.graph.initializer}
    assert (kinds["scale"], kinds["zero_point"]) == (TensorProto.FLOAT16, TensorProto.FLOAT8E4M3FN)
    assert len(build_plan(trt, source.model, configure)) > 10_000


@pytest.mark.parametrize("operator", ["HardSwish", "Mish", "Softmax", "HardSigmoid", "GlobalAveragePool"])
def test_operators_that_are_refused_in_bfloat16_stay_float(trt, tmp_path, operator):
    def configure(made):
        made.num_compute_capabilities = 1
        made.set_compute_capability(trt.ComputeCapability.SM86, 0)

    nodes = [onnx.helper.make_node("Relu", ["image"], ["a"]), onnx.helper.make_node(operator, ["a"], ["b"])]
    made = Graph(graph([*nodes, onnx.helper.make_node("Relu", ["b"], ["out"])], {}))
    to_bfloat16_(made)
    assert len(build_plan(trt, made.model, configure)) > 1_000


@pytest.mark.parametrize("precision", TARGETS)
def test_a_plan_is_judged_by_simulation_and_says_that_it_was_not_run(trt, settings, precision):
    result = build_engine(**settings, precision=precision, options={"target": TARGETS[precision]})
    manifest = load_manifest(result.path)
    assert manifest.precision == precision
    assert manifest.accuracy == (result.accuracy,)
    assert result.accuracy.simulated
    assert result.agreement.percent > 95
    assert "does not run them" in result.report.not_run_here
    assert result.scheme == (precision if precision == "fp8" else None)
    with pytest.raises(DeviceError, match="TensorRT-RTX engine"):
        open_engine(result.path)


@pytest.mark.parametrize(("precision", "target"), [("fp8", "sm86"), ("fp8", "sm80"), ("fp8", "sm75"), ("bf16", "sm75")])
def test_a_gpu_that_lacks_a_precision_is_refused_before_anything_long(trt, settings, tmp_path, precision, target):
    with pytest.raises(ConfigError, match=f"{target} cannot run it.* has no {precision}, which begins with 8"):
        build_engine(**settings, precision=precision, options={"target": target})
    assert not list(tmp_path.glob("*.ranges.json"))


def test_the_simulation_of_8_bit_floats_gates(trt, settings, tmp_path):
    fine = build_engine(**settings, scheme="fp8", options={"target": "sm120"})
    content = json.loads(fine.ranges.path.read_text())
    for key in content["tensors"]["both"]:
        content["tensors"]["both"][key] *= 0.001
    (tmp_path / "spoiled.json").write_text(json.dumps(content))
    spoiled = open_ranges(tmp_path / "spoiled.json", fine.ranges.network)
    strict = {**settings, "ranges": spoiled, "max_drop": 0.0, "out": tmp_path / "bad.rtx"}
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(**strict, scheme="fp8", options={"target": "sm120"})
    assert caught.value.result.sensitive_layers[0].layer == "c3"
    assert not (tmp_path / "bad.rtx").exists()


def test_what_is_simulated_is_what_is_rendered(settings, tmp_path):
    built = build_engine(**{**settings, "backend": "onnxruntime", "out": tmp_path / "e.onnx"})
    rendered = write_qdq(built.ranges, tmp_path / "q.onnx", scheme=SCHEMES["fp8"])
    assert rendered.manifest.precision == "fp8"
    assert check_qdq(onnx.load(tmp_path / "q.onnx")) == []
    onnx.checker.check_model(onnx.load(tmp_path / "q.onnx"), full_check=True)
    image = np.random.default_rng(0).uniform(-2, 2, (1, 3, 24, 32)).astype(np.float32)
    (exact,) = make_session(tmp_path / "q.onnx", optimize=False).run(None, {"image": image})
    np.testing.assert_array_equal(simulate_tensorrt(built.ranges, scheme="fp8").infer(image), exact)
    np.testing.assert_array_equal(open_engine(tmp_path / "q.onnx").infer(image), exact)
    assert simulate(built.ranges.network, "fp16") is None
    short = simulate_bfloat16(built.ranges.network).infer(image)
    with open_engine(built.ranges.network) as parent:
        noise = [np.square(other - parent.infer(image)).mean() for other in (short, exact)]
    assert 0 < noise[0] < noise[1]


def test_a_file_for_a_computer_without_8_bit_floats_is_refused(settings, tmp_path):
    built = build_engine(**{**settings, "backend": "onnxruntime", "out": tmp_path / "e.onnx"})
    common = {"ranges": built.ranges, "out": tmp_path / "q.onnx", "scheme": "fp8"}
    network = open_network(settings["network"])
    for target, message in (("orin-nano-8gb", "8.7 has no fp8"), ("agx-orin-64gb", "8.7"), ("cpu", "no GPU")):
        with pytest.raises(ConfigError, match=message):
            render(network, **common, target=target)
    assert render(network, **common, target="thor").network.manifest.precision == "fp8"


def test_orin_refuses_8_bit_floats_and_takes_bfloat16(double):
    double()
    assert GPU_LABEL.endswith("(sm_87)")
    with pytest.raises(ConfigError, match=r"8\.7 has no fp8, which begins with 8\.9"):
        TensorRT().check("fp8", TensorRTOptions())
    TensorRT().check("bf16", TensorRTOptions())
    with pytest.raises(ConfigError, match="16-bit"):
        TensorRT().check("int16", TensorRTOptions())
    with pytest.raises(ConfigError, match="DLA computes in fp16 and int8 only"):
        TensorRT().check("bf16", TensorRTOptions(dla_core=0))
    with pytest.raises(ConfigError, match="for int8"):
        TensorRT().check("fp8", TensorRTOptions(quantization="implicit"))


@pytest.mark.parametrize(
    ("text", "precision"),
    [("Row major FP8 format", "fp8"), ("Row major BFloat16 format", "bf16"), ("Row major Float format", "fp32")],
)
def test_layers_in_short_floats_are_counted_as_such(text, precision):
    layers = [{"Name": "conv", "Inputs": [{"Format/Datatype": text}]}]
    assert count_layers(json.dumps({"Layers": layers})).precisions == {precision: 1}
