import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import (
    before_quantizers,
    integer_type,
    of_type,
    only_reader,
    quantizer_constant,
    quantizer_of,
    quantizer_roots,
)


@pytest.fixture
def graph() -> Graph:
    """image -> pair -> Relu -> Relu; a weight in int8 behind a dequantizer; a pair with constants as nodes."""
    made = helper.make_node
    nodes = [
        made("Constant", [], ["s"], value_float=0.5),
        made("QuantizeLinear", ["image", "s", "z"], ["q"]),
        made("DequantizeLinear", ["q", "s", "z"], ["d"]),
        made("DequantizeLinear", ["w", "ws"], ["wd"], axis=0),
        made("Conv", ["d", "wd"], ["c"]),
        made("QuantizeLinear", ["c", "computed"], ["cq"]),
        made("DequantizeLinear", ["cq", "computed"], ["cd"]),
        made("Relu", ["cd"], ["out"]),
    ]
    weights = {"z": np.int8(0), "w": np.ones((2, 3, 1, 1), np.int8), "ws": np.float32([0.1, 0.2])}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("image", "computed", "out")]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    opset = [helper.make_opsetid("", 18)]
    return Graph(helper.make_model(helper.make_graph(nodes, "g", ends[:2], ends[2:], tensors), opset_imports=opset))


def test_quantizers_are_seen_through(graph):
    assert before_quantizers(graph, "d") == "image"
    assert before_quantizers(graph, "wd") == "w"
    assert before_quantizers(graph, "c") == "c"
    assert quantizer_of(graph, "q") is graph.producer["q"]
    assert quantizer_of(graph, "d") is None
    assert [node.output[0] for node in quantizer_roots(graph)] == ["q", "wd", "cq"]
    assert [node.output[0] for node in of_type(graph, "Conv", "Relu")] == ["c", "out"]


def test_the_only_reader_is_found_behind_quantizers(graph):
    assert only_reader(graph, "image") == (graph.producer["c"], True)
    assert only_reader(graph, "cd") == (graph.producer["out"], False)
    assert only_reader(graph, "out") is None


def test_constants_of_quantizers(graph):
    np.testing.assert_array_equal(quantizer_constant(graph, graph.producer["q"], 1), 0.5)
    np.testing.assert_array_equal(quantizer_constant(graph, graph.producer["wd"], 2), 0.0)
    assert quantizer_constant(graph, graph.producer["cq"], 1) is None


def test_integer_types(graph):
    types = {name: integer_type(graph, graph.producer[name]) for name in ("q", "wd", "cq", "cd")}
    assert types == {"q": "int8", "wd": "int8", "cq": "uint8", "cd": None}
