import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network
from symmetric_qdq import quantize_symmetric

from jetseg.compress.qat.artifacts import float_graph, trained_graph
from jetseg.compress.qat.module import OnnxModule
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)


def run(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    return make_session(model.SerializeToString(), optimize=False).run(None, {"image": image})


def test_the_float_twin_computes_what_the_float_network_did(image):
    float_network = small_network()
    twin = float_graph(quantize_symmetric(float_network, {"image": image}))
    assert [node.op_type for node in twin.graph.node] == [node.op_type for node in float_network.graph.node]
    assert {t.name for t in twin.graph.initializer} == {t.name for t in float_network.graph.initializer}
    np.testing.assert_allclose(run(twin, image)[0], run(float_network, image)[0], atol=1e-6)


def test_a_twins_output_that_a_quantizer_made_keeps_its_name(image):
    model = small_network()
    graph = Graph(model)
    graph.add_initializer("s", np.float32(0.1))
    graph.add_initializer("z", np.int8(0))
    last = graph.producer["logits"]
    graph.interpose(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["logits"]))
    graph.interpose(helper.make_node("QuantizeLinear", ["float", "s", "z"], ["q"]))
    assert last.output[0] == "float"
    twin = float_graph(model)
    assert [node.op_type for node in twin.graph.node][-2:] == ["Resize", "Identity"]
    np.testing.assert_array_equal(run(twin, image)[0], run(small_network(), image)[0])


@pytest.mark.parametrize("form", ["value", "value_floats"])
def test_trained_constants_are_written_back_whatever_form_they_have(image, form):
    model = small_network()
    slope = np.full((8, 1, 1), 0.25, np.float32) if form == "value" else [0.25]
    value = numpy_helper.from_array(slope) if form == "value" else slope
    graph = Graph(model)
    graph.insert_after(
        graph.producer["n1"],
        helper.make_node("Constant", [], ["slope"], **{form: value}),
        helper.make_node("PRelu", ["n1", "slope"], ["p1"]),
    )
    graph.remove_node(graph.producer["r1"], instead="p1")
    module = OnnxModule(model)
    with torch.no_grad():
        module.changes[module.weight_names.index("slope")].fill_(1)
        expected = module(torch.from_numpy(image)).numpy()
    trained = trained_graph(model, module)
    np.testing.assert_array_equal(Graph(trained).weight("slope"), np.full(np.shape(slope), 0.5, np.float32))
    np.testing.assert_allclose(run(trained, image)[0], expected, atol=1e-4)
