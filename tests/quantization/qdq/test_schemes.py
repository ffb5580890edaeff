"""What quantizers compute, against ONNX Runtime's own and against the definition of the formats."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network

from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.qdq.schemes import SCHEMES, Float8Quantizer
from jetseg.quantization.ranges import TensorRange

NAMES = list(SCHEMES)
FLOAT8 = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
FINITE = np.unique(FLOAT8[np.isfinite(FLOAT8)])
BETWEEN = (FINITE[1:] + FINITE[:-1]) / 2
HARD = np.float32(
    [*FINITE, *BETWEEN, *np.nextafter(BETWEEN, np.float32(1e9)), *np.nextafter(BETWEEN, np.float32(-1e9))]
)


def entry(low: float, high: float) -> TensorRange:
    return TensorRange(low=low / 2, high=high / 2, amax=max(-low, high) / 2, seen_low=low, seen_high=high)


def quantized_by_onnxruntime(values: np.ndarray, scale: float, zero_point: np.ndarray) -> np.ndarray:
    domain = "com.microsoft" if zero_point.dtype.itemsize == 2 else ""
    tensors = [
        numpy_helper.from_array(np.float32(scale), "s"),
        numpy_helper.from_array(np.asarray(zero_point), "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], domain=domain),
    ]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    graph = helper.make_graph(nodes, "pair", ports[:1], ports[1:], tensors)
    domains = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    return make_session(model.SerializeToString(), optimize=False).run(None, {"x": values})[0]


@pytest.mark.parametrize("name", NAMES)
def test_quantizers_round_as_onnxruntime_does(name):
    scheme = SCHEMES[name]
    quantizer = scheme.quantizer(entry(-3.0, 5.0))
    rng = np.random.default_rng(0)
    steps = np.float32(quantizer.scale) * np.concatenate([HARD, np.arange(-300, 300) / 2])
    values = np.concatenate([rng.normal(0, 3, 5000), 10.0 ** rng.uniform(-9, 2, 5000), steps]).astype(np.float32)
    zero_point = np.asarray(quantizer.zero_point, scheme.activation_type)
    expected = quantized_by_onnxruntime(values, quantizer.scale, zero_point)
    np.testing.assert_array_equal(quantizer(values), expected)


def test_floats_of_8_bits_are_rounded_to_the_nearest_ties_to_even():
    one = Float8Quantizer(1.0, 0, -448, 448)
    values = np.concatenate([HARD, -HARD, np.float32([460, 1e30, -1e30, 1e-30])])
    expected = np.clip(values, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(one(values), expected)
    np.testing.assert_array_equal(one(FINITE), FINITE)


@pytest.mark.parametrize("name", NAMES)
def test_a_scheme_knows_its_name_and_fits_its_types(name):
    scheme = SCHEMES[name]
    assert scheme.name == name
    assert scheme.weight_type.itemsize == (1 if name == "fp8" or "w8" in name or "16" not in name else 2)
    assert scheme.activation_type.itemsize == (2 if "16" in name else 1)


def test_16_bits_and_floats_have_room_for_all_that_was_seen():
    seen = entry(-4.0, 2.0)
    assert SCHEMES["int8"].quantizer(seen).scale == pytest.approx(2.0 / 127)
    assert SCHEMES["int16w8"].quantizer(seen).scale == pytest.approx(4.0 / 32767)
    assert SCHEMES["uint16"].quantizer(seen).scale == pytest.approx(6.0 / 65535)
    assert SCHEMES["fp8"].quantizer(seen).scale == pytest.approx(4.0 / 448)


@pytest.mark.parametrize(
    ("runtime", "name"),
    [("tensorrt", name) for name in NAMES] + [("onnxruntime", name) for name in NAMES if name != "fp8"],
)
def test_a_weight_is_rounded_as_the_rendered_network_does(runtime, name):
    """One convolution that passes its weight on: what it computes are the rounded weights."""
    weight = np.random.default_rng(0).normal(size=(8, 4, 1, 1)).astype(np.float32)
    weight[3] = 0.0
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Conv", ["c", "head"], ["y"])]
    tensors = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.eye(8, dtype=np.float32)[..., None, None], "head"),
    ]
    ports = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 2, 2]),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 2, 2]),
    ]
    made = helper.make_graph(nodes, "two", ports[:1], ports[1:], tensors)
    graph = Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    arithmetic = Arithmetic(SCHEMES[name], runtime)
    ranges = dict.fromkeys(("x", "c"), entry(-4.0, 4.0))
    placement = arithmetic.place(graph, "conv-inputs", ranges, frozenset({"y"}))
    quantizers = arithmetic.quantizers(placement, ranges)
    rounded = arithmetic.round_weight(weight, 0)[:, :, 0, 0]
    x = quantizers["x"](np.random.default_rng(1).normal(size=(1, 4, 2, 2)).astype(np.float32))
    expected = np.einsum("oi,bihw->bohw", rounded.astype(np.float64), x.astype(np.float64))
    if "c" in quantizers:
        expected = quantizers["c"](expected.astype(np.float32))
    model = arithmetic.render(graph, placement, ranges)
    (found,) = make_session(model.SerializeToString(), optimize=False).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not found[0, 3].any()


def test_a_network_is_lifted_where_8_bit_floats_need_it():
    arithmetic = Arithmetic(SCHEMES["fp8"], "tensorrt")
    graph = Graph(small_network(opset=18))
    ranges = dict.fromkeys([name for node in graph.nodes for name in (*node.input, *node.output)], entry(-4.0, 4.0))
    model = arithmetic.render(graph, arithmetic.place(graph, "full", ranges), ranges)
    onnx.checker.check_model(model, full_check=True)
    assert Graph(model).opset == 19
    image = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    assert make_session(model.SerializeToString()).run(None, {"image": image})[0].shape == (1, 3, HEIGHT, WIDTH)
