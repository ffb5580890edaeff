"""Engines of every scheme that ONNX Runtime has, against exact arithmetic and against what is rendered."""

import json
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_network import write_dataset, write_small_network
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.data.dataset import Dataset, open_split
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.result import EngineRejectedError
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.errors import ConfigError
from jetseg.network import load_manifest, open_network
from jetseg.onnx import session
from jetseg.onnx.session import make_session
from jetseg.preprocess import Preprocessor
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.qdq.schemes import SCHEMES
from jetseg.quantization.ranges import open_ranges
from jetseg.quantization.render import write_qdq
from jetseg.workflows.building import build_engine
from jetseg.workflows.kits import pack, verify

ON_INTEGERS, ROUNDED = ("uint8", "int8"), ("int16", "uint16", "int16w8", "uint16w8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Gives a function that builds an engine of a scheme, each once, on the same ranges."""
    folder = tmp_path_factory.mktemp("schemes")
    model, data = write_small_network(folder), write_dataset(folder / "data")
    config = CalibrateConfig(split="all", images=4, preset="fast", method="minmax")
    ranges = calibrate(open_network(model), Dataset(data), config, folder / "r.json")
    known = {}

    def build(scheme):
        if scheme not in known:
            known[scheme] = build_engine(
                model, ranges=ranges, data=data, eval_split="all", scheme=scheme, out=folder / f"{scheme}.onnx"
            )
        return known[scheme]

    return build


@pytest.fixture
def image(built):
    """Gives one of the frames that were calibrated on, so that nothing in it is out of range."""
    network = built("int8").ranges.network
    frame = open_split(f"folder:{network.path.parent / 'data'}", "all")[0].image_hwc_u8
    return Preprocessor(network.manifest.input)(frame).copy()


@pytest.mark.parametrize("scheme", [*ON_INTEGERS, *ROUNDED])
def test_an_engine_of_each_scheme_is_built_gated_opened_and_says_what_it_is(built, scheme, image):
    result = built(scheme)
    manifest = load_manifest(result.path)
    assert manifest.precision == SCHEMES[scheme].precision
    assert manifest.stages[-1].settings["scheme"] == result.scheme == scheme
    assert manifest.accuracy == (result.accuracy,)
    assert result.agreement.percent > 95
    points = {
        tensor.name: numpy_helper.to_array(tensor).dtype
        for tensor in onnx.load(result.path).graph.initializer
        if tensor.name.endswith(".zero_point")
    }
    weights = {dtype for name, dtype in points.items() if ".weight." in name}
    others = {dtype for name, dtype in points.items() if ".weight." not in name and ".bias." not in name}
    assert weights == {SCHEMES[scheme].weight_type}
    assert others == {SCHEMES[scheme].activation_type}
    with open_engine(result.path) as engine:
        assert np.isfinite(engine.infer(image)).all()


@pytest.mark.parametrize("scheme", [*ON_INTEGERS, *ROUNDED])
def test_an_engine_computes_its_arithmetic_exactly(built, scheme, image):
    """Its kernels, fused as they are, against each quantizer and each float operator as it stands."""
    path = built(scheme).path
    (exact,) = make_session(path, optimize=False).run(None, {"image": image})
    found = open_engine(path).infer(image)
    steps = {8: 2.0**8, 16: 2.0**16}[SCHEMES[scheme].bits]
    assert np.abs(found - exact).max() < 8 * np.abs(exact).max() / steps  # a sum may round to the next number
    assert np.mean(np.abs(found - exact)) < np.abs(exact).max() / steps


@pytest.mark.parametrize("scheme", ROUNDED)
def test_a_16_bit_engine_is_what_is_rendered(built, scheme, image, tmp_path):
    result = built(scheme)
    write_qdq(result.ranges, tmp_path / "q.onnx", scheme=SCHEMES[scheme])
    (rendered,) = make_session(tmp_path / "q.onnx", optimize=False).run(None, {"image": image})
    (engine,) = make_session(result.path, optimize=False).run(None, {"image": image})
    np.testing.assert_array_equal(engine, rendered)
    np.testing.assert_array_equal(simulate_tensorrt(result.ranges, scheme=scheme).infer(image), rendered)


@pytest.fixture
def operators(monkeypatch, tmp_path):
    """Gives a function that counts the operators of an engine as ONNX Runtime runs it."""
    file, plain = tmp_path / "optimized.onnx", session.onnxruntime.SessionOptions

    def keeping():
        options = plain()
        options.optimized_model_filepath = str(file)
        return options

    def count(path):
        with monkeypatch.context() as patch:
            patch.setattr(session.onnxruntime, "SessionOptions", keeping)
            open_engine(path).close()
        return Counter(node.op_type for node in onnx.load(file).graph.node)

    return count


def test_8_bits_run_on_integer_kernels_and_16_say_that_they_do_not(built, operators):
    for scheme in ON_INTEGERS:
        report = built(scheme).report
        assert report.integer_layers == ("n1", "c2", "c3")
        assert report.note is None
        counted = operators(built(scheme).path)
        assert (counted["QLinearConv"], counted["QLinearAdd"], counted["Conv"]) == (3, 1, 1)
    for scheme in ROUNDED:
        report = built(scheme).report
        assert report.integer_layers == ()
        assert "rounded, computed in float" in report.note
        assert not {"QLinearConv", "ConvInteger"} & operators(built(scheme).path).keys()


def test_more_bits_come_nearer_to_the_float_network(built, image):
    with open_engine(built("int8").ranges.network) as parent:
        wanted = parent.infer(image)
    noise = {}
    for scheme in (*ON_INTEGERS, *ROUNDED):
        with open_engine(built(scheme).path) as engine:
            noise[scheme] = float(np.square(engine.infer(image) - wanted).mean())
    assert max(noise["int16"], noise["uint16"]) < 1e-3 * min(noise["int8"], noise["uint8"])
    assert noise["int16"] < noise["int16w8"] < noise["int8"]
    assert noise["uint8"] < noise["int8"]


def test_signed_kernels_do_not_saturate_at_the_largest_products():
    """All activations 127 and all weights at their limit, which kernels of older processors add in 16 bits."""
    from jetseg.onnx.graph import Graph
    from jetseg.quantization.arithmetic import find_arithmetic
    from jetseg.quantization.ranges import TensorRange

    weight = np.full((8, 32, 3, 3), 1.0, dtype=np.float32)
    weight[1::2] *= -1
    node, tensor = onnx.helper.make_node, numpy_helper.from_array
    ports = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 32, 8, 8]),
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 6, 6]),
    ]
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Conv", ["c", "head"], ["y"])]
    constants = [tensor(weight, "w"), tensor(np.eye(8, dtype=np.float32)[..., None, None], "head")]
    made = onnx.helper.make_graph(nodes, "two", ports[:1], ports[1:], constants)
    graph = Graph(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9))
    one, many = (TensorRange(low=-top, high=top, amax=top, seen_low=-top, seen_high=top) for top in (1.0, 288.0))
    arithmetic = find_arithmetic("onnxruntime", "int8")
    ranges = {"x": one, "c": many}
    content = arithmetic.render(graph, arithmetic.place(graph, "full", ranges), ranges).SerializeToString()
    for sign in (1.0, -1.0):
        x = np.full((1, 32, 8, 8), sign, dtype=np.float32)
        (exact,) = make_session(content, optimize=False).run(None, {"x": x})
        (kernels,) = make_session(content).run(None, {"x": x})
        assert np.abs(exact).max() > 280
        np.testing.assert_allclose(kernels, exact, rtol=0.02)


def test_the_usual_scheme_needs_no_name(built, tmp_path):
    ranges = built("uint8").ranges
    result = build_engine(ranges.network, ranges=ranges, out=tmp_path / "usual.onnx")
    assert result.path.read_bytes() == built("uint8").path.read_bytes()
    assert result.scheme == "uint8"
    assert build_engine(ranges.network, ranges=ranges, precision="int16", out=tmp_path / "e.onnx").scheme == "int16"


def test_an_engine_without_a_name_is_called_after_its_precision(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ranges = built("int16").ranges
    assert build_engine(ranges.network, ranges=ranges, scheme="int16w8").path.name == "small.int16.onnx"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "fp8"}, "no fp8 kernels"),
        ({"precision": "bf16"}, "no bf16 kernels"),
        ({"scheme": "int4"}, "scheme"),
        ({"scheme": "int16", "precision": "int8"}, "scheme int16 is of precision int16, and this is int8"),
        ({"scheme": "int8", "precision": "auto"}, "of precision int8, and this is auto"),
        ({"scheme": "uint8", "backend": "tensorrt_rtx"}, r"no engines of scheme uint8.*It has int8, fp8"),
        ({"precision": "int16", "backend": "tensorrt_rtx"}, "no 16-bit integers"),
    ],
)
def test_what_a_runtime_lacks_is_refused_at_once_with_what_it_has(tmp_path, settings, message):
    if settings.get("backend") == "tensorrt_rtx":
        pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        build_engine(model, data=data, split="all", eval_split="all", out=tmp_path / "e.x", **settings)
    assert not list(tmp_path.glob("*.ranges.json"))


def test_16_bits_are_calibrated_without_corrections_of_8(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    result = build_engine(
        model, data=data, split="all", eval_split="all", images=4, scheme="int16w8", out=tmp_path / "e.onnx"
    )
    assert result.ranges.record.networks == {}
    assert result.ranges.record.trials == ()
    assert BuildConfig(scheme="int16w8").precision == "int16"


def test_a_rejected_16_bit_engine_names_its_layers(built, tmp_path):
    ranges = built("int16").ranges
    content = json.loads(ranges.path.read_text())
    for key in ("seen_low", "seen_high", "low", "high", "amax"):
        content["tensors"]["both"][key] *= 0.001
    (tmp_path / "r.json").write_text(json.dumps(content))
    spoiled = open_ranges(tmp_path / "r.json", ranges.network)
    data = f"folder:{ranges.network.path.parent / 'data'}"
    settings = {"scheme": "int16", "eval_split": "all", "min_agreement": 99.9, "out": tmp_path / "e.onnx"}
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(ranges.network, ranges=spoiled, data=data, **settings)
    assert caught.value.result.sensitive_layers[0].layer == "c3"
    kept = build_engine(ranges.network, ranges=spoiled, data=data, keep_float=("c3",), **settings)
    assert kept.agreement.percent > 99.9


def test_a_kit_is_verified_in_a_scheme(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    ranges = calibrate(open_network(model), Dataset(data), CalibrateConfig(split="all", images=4), tmp_path / "r.json")
    pack(model, ranges=ranges, data=data, split="all", frames=2, out=tmp_path / "k.zip")
    result = verify(tmp_path / "k.zip", out=tmp_path / "e.onnx", scheme="uint16w8")
    assert (result.manifest.precision, result.manifest.stages[-1].settings["scheme"]) == ("int16", "uint16w8")
    assert not result.comparison.violations


def test_the_command_line_says_what_the_engine_is(built, tmp_path):
    ranges = built("int16w8").ranges
    command = ["build-engine", str(ranges.network.path), "--calibration", str(ranges.path), "--scheme", "int16w8"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "e.onnx")], catch_exceptions=False)
    assert "int16 (scheme int16w8) for onnxruntime" in done.stdout
    assert "16-bit: rounded, computed in float" in done.stdout
    done = CliRunner().invoke(app, [*command, "--json", "--out", str(tmp_path / "e.onnx")], catch_exceptions=False)
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert (summary["precision"], summary["scheme"]) == ("int16", "int16w8")
    done = CliRunner().invoke(app, ["bench", str(tmp_path / "e.onnx"), "--seconds", "0.05", "--rounds", "1"])
    assert done.exit_code == 0
