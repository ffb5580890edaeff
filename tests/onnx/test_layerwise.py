"""Networks run node by node: what no later node reads is forgotten frame by frame."""

import numpy as np
from onnx import TensorProto, helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import LayerwiseRunner


def chain() -> Graph:
    nodes = [helper.make_node("Relu", ["image"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2])
    output = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "g", [image], [output])
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def test_a_frame_gives_up_its_input_before_the_next_one_is_computed():
    """Else inputs and outputs of all frames are in memory at once, and that is where memory peaks."""
    graph = chain()
    runner = LayerwiseRunner(graph, [{"image": np.float32([[-1, number]])} for number in range(3)])
    seen = []

    def watched(outputs):
        for values in outputs:
            seen.append([sorted(frame) for frame in runner.frames])
            yield values

    runner.advance(graph.nodes[0], watched(runner.evaluate(graph.nodes[0])))
    assert seen == [[["a"]] * done + [["image"]] * (3 - done) for done in range(3)]
    np.testing.assert_array_equal(runner.values("a"), [[[0, number]] for number in range(3)])


def test_changed_inputs_are_read_and_not_kept():
    graph = chain()
    runner = LayerwiseRunner(graph, [{"image": np.float32([[1, 2]])}])
    ((found,),) = runner.evaluate(graph.nodes[0], {"image": lambda values: values * 10})
    np.testing.assert_array_equal(found, [[10, 20]])
    np.testing.assert_array_equal(runner.values("image"), [[[1, 2]]])
