"""A network in pieces gives what it gives as a whole."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_network import write_small_network

from jetseg.network import open_network
from jetseg.onnx.graph import Graph
from jetseg.onnx.pieces import PiecewiseRunner
from jetseg.onnx.session import make_session, run_session
from jetseg.quantization.qdq.placement import observed_tensors


@pytest.mark.parametrize("limit_bytes", [0, 30_000, 1 << 40])
def test_each_activation_is_given_once_and_is_the_same(tmp_path, limit_bytes):
    network = open_network(write_small_network(tmp_path))
    graph = network.float_graph()
    feeds = {network.image_input: np.random.default_rng(0).normal(size=(1, 3, 24, 32)).astype(np.float32)}
    wanted = [name for name in observed_tensors(graph) if name != network.image_input]
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    whole = dict(zip(wanted, run_session(make_session(model.SerializeToString()), wanted, feeds), strict=True))
    runner = PiecewiseRunner(graph, wanted, limit_bytes)
    for _ in range(2):
        given = list(runner.run(feeds))
        assert sorted(name for name, _ in given) == sorted(wanted)
        for name, values in given:
            np.testing.assert_array_equal(values, whole[name])
    sizes = [sum(whole[name].nbytes for name in piece.outputs if name in whole) for piece in runner._pieces]
    assert len(sizes) == 1 if limit_bytes > 1 << 30 else len(sizes) > 1
    assert limit_bytes == 0 or all(size <= limit_bytes + max(map(np.size, whole.values())) * 4 for size in sizes)


def test_a_shape_that_only_running_tells_leaves_one_piece():
    nodes = [
        helper.make_node("Relu", ["image"], ["a"]),
        helper.make_node("NonZero", ["a"], ["places"]),
        helper.make_node("Cast", ["places"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["b"], ["sum"], keepdims=0),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", [2, 3]), ("sum", []))
    ]
    graph = Graph(
        helper.make_model(
            helper.make_graph(nodes, "g", ports[:1], ports[1:]),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=9,
        )
    )
    runner = PiecewiseRunner(graph, ["a", "b"], 0)
    found = dict(runner.run({"image": np.array([[1, 0, 2], [0, 0, 3]], np.float32)}))
    assert len(runner._pieces) == 1
    np.testing.assert_array_equal(found["b"], [[0, 0, 1], [0, 2, 2]])
