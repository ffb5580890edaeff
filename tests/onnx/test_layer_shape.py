import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.layer_shape import LayerShape, layer_shape


def read(operator: str, weight: tuple[int, ...], **attributes: object) -> LayerShape | None:
    node = helper.make_node(operator, ["x", "w"], ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    kernel = numpy_helper.from_array(np.zeros(weight, np.float32), "w")
    graph = Graph(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [kernel])))
    return layer_shape(graph, graph.nodes[0], {"x": np.zeros((1, 8, 10, 12), np.float32)})


def test_convolutions_are_read_off_the_graph():
    found = read("Conv", (6, 4, 3, 5), strides=[2, 1], pads=[1, 2, 1, 2], dilations=[1, 3], group=2)
    assert found == LayerShape(8, 6, 10, 12, (3, 5), (2, 1), (1, 2), (1, 3), groups=2)
    assert read("Conv", (6, 8, 1, 1)) == LayerShape(8, 6, 10, 12)


def test_a_transposed_convolution_counts_its_outputs_per_group():
    found = read("ConvTranspose", (8, 3, 2, 2), strides=[2, 2], group=2)
    assert found == LayerShape(8, 6, 10, 12, (2, 2), (2, 2), groups=2, transposed=True)


@pytest.mark.parametrize("layer", [("Mul", (1, 8, 1, 1), {}), ("Conv", (6, 8, 3, 3), {"auto_pad": "SAME_UPPER"})])
def test_what_has_no_such_shape_has_none(layer):
    operator, weight, attributes = layer
    assert read(operator, weight, **attributes) is None
