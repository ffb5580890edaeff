"""Operators are fused as a GPU's compiler documents it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_network import small_network

from jetseg.latency.fusing import fused_units
from jetseg.onnx.graph import Graph


def graph_of(nodes, weights=(), channels=8):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, channels, 6, 8))
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights]
    graph = helper.make_graph(nodes, "g", [image], [output], tensors)
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def test_an_activation_and_a_shortcut_join_the_convolution_before_them():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["c", "x"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    (unit,) = fused_units(graph_of(nodes, [("w", (8, 8, 1, 1))]), "fp16")
    assert (unit.operator, unit.fused, unit.dtype) == ("Conv", ("Add", "Relu"), "fp16")
    assert unit.inputs == ((1, 8, 6, 8), (1, 8, 6, 8))
    assert unit.macs == 8 * 8 * 48


def test_what_is_read_elsewhere_as_well_is_not_fused_away():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Concat", ["c", "r"], ["y"], axis=1),
    ]
    units = fused_units(graph_of(nodes, [("w", (8, 8, 1, 1))]), "fp16")
    assert [unit.operator for unit in units] == ["Conv", "Pointwise", "Concat"]
    assert units[2].output == (1, 16, 6, 8)


def test_a_chain_by_value_is_one_kernel_and_a_reshape_none():
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("Mul", ["s", "x"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Tanh", ["f"], ["y"]),
    ]
    (unit,) = fused_units(graph_of(nodes), "fp16")
    assert unit.fused == ("Sigmoid", "Mul", "Tanh")
    assert unit.inputs == ((1, 8, 6, 8), (1, 8, 6, 8))


def test_all_multiply_accumulates_of_a_network_are_counted():
    from jetseg.onnx.cost import graph_cost

    graph = Graph(small_network())
    units = fused_units(graph, "fp16")
    assert sum(unit.macs for unit in units) == graph_cost(small_network()).macs
    assert len(units) < len(graph.nodes)


def test_weights_that_an_exporter_stored_once_for_two_layers_are_weights_of_both():
    nodes = [
        helper.make_node("Identity", ["w"], ["same"]),
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["c", "same"], ["y"], kernel_shape=[1, 1]),
    ]
    first, second = fused_units(graph_of(nodes, [("w", (8, 8, 1, 1))]), "fp16")
    assert first.macs == second.macs == 8 * 8 * 48
    assert second.inputs == ((1, 8, 6, 8),)


def test_what_follows_from_shapes_is_no_kernel():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=2),
        helper.make_node("Mul", ["s", "two"], ["larger"]),
        helper.make_node("Concat", ["first", "larger"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"]),
    ]
    graph = graph_of(nodes)
    for name, value in (("two", [2]), ("first", [1, 8])):
        graph.model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    units = fused_units(Graph(onnx.shape_inference.infer_shapes(graph.model, data_prop=True)), "fp16")
    assert [str(unit) for unit in units] == ["Resize fp16 1x8x6x8 > 1x8x12x16"]
