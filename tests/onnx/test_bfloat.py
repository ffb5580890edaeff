import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network

from jetseg.onnx.bfloat import round_to_bfloat16_, to_bfloat16_
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session


def short(values: np.ndarray) -> np.ndarray:
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def branching() -> onnx.ModelProto:
    """A product that is an output and read on, a transposed convolution, and a resizing with scales of its own."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, 4, 1, 1)),
        "t": rng.normal(size=(4, 2, 2, 2)),
        "b": rng.normal(size=2),
        "k": np.float64(1.37),
        "scales": np.float64([1, 1, 2, 2]),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Mul", ["c", "k"], ["early"]),
        node("ConvTranspose", ["early", "t", "b"], ["up"], strides=[2, 2]),
        node("Resize", ["early", "", "scales"], ["resized"], mode="nearest"),
        node("Cast", ["resized"], ["rounded"], saturate=1, to=TensorProto.INT32),
        node("Cast", ["rounded"], ["whole"], saturate=1, to=TensorProto.FLOAT),
        node("Add", ["resized", "whole"], ["wide"]),
        node("ReduceMean", ["wide"], ["mean"], keepdims=1),
        node("Mul", ["up", "mean"], ["late"]),
    ]
    shapes = {"x": [1, 4, 3, 3], "early": [1, 4, 3, 3], "late": [1, 2, 6, 6]}
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "branching", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_every_result_is_rounded_and_what_stays_float_is_not():
    graph = Graph(branching())
    weights = {name: graph.weight(name) for name in graph.weights}
    x = np.random.default_rng(1).normal(size=(1, 4, 3, 3)).astype(np.float32)
    c = short(np.einsum("oi,bihw->bohw", short(weights["w"])[..., 0, 0], short(x)))
    early = short(c * short(weights["k"]))
    up = np.einsum("bihw,iokl->bohkwl", early, weights["t"]).reshape(1, 2, 6, 6) + weights["b"].reshape(1, 2, 1, 1)
    late = short(short(up) * short(short(early + np.trunc(early)).mean()))
    round_to_bfloat16_(graph)
    graph.check()
    assert set(graph.outputs) == {"early", "late"}
    found = make_session(graph.model.SerializeToString(), optimize=False).run(["early", "late"], {"x": x})
    np.testing.assert_array_equal(found[0], early)
    np.testing.assert_allclose(found[1], late, rtol=2.0**-7)  # sums in another order may round to the next number
    assert np.mean(found[1] == late) > 0.9


def test_types_in_bfloat16_are_consistent():
    graph = Graph(branching())
    to_bfloat16_(graph)
    graph.check()
    kinds = {tensor.name: tensor.data_type for tensor in graph.model.graph.initializer}
    assert sorted(name for name, kind in kinds.items() if kind == TensorProto.FLOAT) == ["b", "scales", "t"]
    assert sum(kind == TensorProto.BFLOAT16 for kind in kinds.values()) == 2
    casts = {node.input[0]: node for node in graph.nodes if node.op_type == "Cast"}
    assert {"x", "up"} <= set(casts)  # into the part in bfloat16
    (transposed,) = (node for node in graph.nodes if node.op_type == "ConvTranspose")
    assert graph.producer[transposed.input[0]].op_type == "Cast"
    for name in ("early", "late"):
        assert graph.producer[name].op_type == "Cast"
        assert graph.producer[name].attribute[0].i == TensorProto.FLOAT
    lifted = onnx.version_converter.convert_version(graph.model, 22)  # the first opset whose Conv takes bfloat16
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(lifted, strict_mode=True), full_check=True)


def test_rounding_a_network_costs_about_8_bits_of_mantissa():
    graph, image = (
        Graph(small_network()),
        np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32),
    )
    (exact,) = make_session(graph.model.SerializeToString()).run(None, {"image": image})
    round_to_bfloat16_(graph)
    (rounded,) = make_session(graph.model.SerializeToString(), optimize=False).run(None, {"image": image})
    noise = np.square(rounded - exact).mean() / np.square(exact).mean()
    assert 1e-7 < noise < 1e-3
    np.testing.assert_array_equal(rounded, short(rounded))
