"""What is faster in float stays in float, unless quantizers around it take more than it wins."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.engine.backend import StepTime
from jetseg.engine.mixing import StepCosts
from jetseg.engine.node_times import find_atoms, named_share, spent_ms
from jetseg.onnx.graph import Graph
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels

SIZE = (1, 4, 8, 8)
ELEMENTS = 4 * 8 * 8
LAYERS = ("a", "b", "c", "d")


@pytest.fixture
def graph():
    """Four convolutions in a row, the second with a ReLU, and a head."""
    weight = np.zeros((4, 4, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["c"]),
        helper.make_node("Conv", ["c", "w"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["logits"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SIZE) for name in ("x", "logits")]
    content = helper.make_graph(nodes, "row", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    return Graph(helper.make_model(content, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def costs(graph, in_float, in_int8, *, change=0.1, own_layout=False):
    """Steps of both engines; `change` is what a quantizer or a dequantizer takes, in milliseconds."""
    names = ["a", "r" if own_layout else "b", "c", "d"]  # a kernel is named after the activation fused into it
    slow = [StepTime(name, "Conv", ms, ELEMENTS) for name, ms in zip(names, in_float, strict=True)]
    fast = [StepTime("x.quantized", "QuantizeLinear", change, ELEMENTS)]
    for name, ms in zip(LAYERS, in_int8, strict=True):
        fast += [StepTime(name, "QLinearConv", 0.75 * ms, ELEMENTS), StepTime(None, "Transpose", 0.25 * ms, ELEMENTS)]
    fast.append(StepTime("d.dequantized", "DequantizeLinear", change, ELEMENTS))
    return StepCosts(graph, place_for_integer_kernels(graph), slow, fast)


@pytest.mark.parametrize("own_layout", [False, True])
def test_one_slow_layer_goes_to_float_if_that_pays_its_quantizers(graph, own_layout):
    """In float the second layer wins 0.5 ms, and two changes of numbers take 0.2 ms."""
    slow_second = costs(graph, [2.0, 2.0, 2.0, 2.0], [1.0, 2.5, 1.0, 1.0], own_layout=own_layout)
    assert slow_second.faster_in_float() == {"b"}
    assert slow_second.faster_in_float(caution=3.0) == frozenset()
    assert slow_second.more_in_float() == pytest.approx({"a": 1.0, "b": -0.5, "c": 1.0, "d": 1.0, "logits": 0.0})


def test_a_layer_that_wins_less_than_its_quantizers_take_stays_on_integers(graph):
    assert costs(graph, [2.0, 2.0, 2.0, 2.0], [1.0, 2.1, 1.0, 1.0]).faster_in_float() == frozenset()


def test_a_fast_layer_goes_to_float_with_its_neighbors(graph):
    """Alone on integers it would win 0.1 ms, less than its own quantizers take."""
    assert costs(graph, [1.0, 1.0, 1.0, 1.0], [1.5, 1.5, 0.9, 1.5]).faster_in_float() == set(LAYERS)


def test_regions_are_told_with_their_times_and_what_their_quantizers_take(graph):
    found = costs(graph, [2.0, 2.0, 2.0, 2.0], [1.0, 2.5, 1.0, 1.0])
    regions = found.regions(frozenset({"b"}))
    assert [(region.first, region.last, region.layers, region.integer) for region in regions] == [
        ("a", "a", 1, True),
        ("b", "b", 1, False),
        ("c", "d", 2, True),
    ]
    assert [region.float_ms for region in regions] == [2.0, 2.0, 4.0]
    assert [region.int8_ms for region in regions] == [1.0, 2.5, 2.0]
    assert [region.change_ms for region in regions] == pytest.approx([0.2, 0.2, 0.2])
    assert found.any_on_integers(frozenset({"b"}))
    assert not found.any_on_integers(frozenset(LAYERS))


def covering(tensor, ms):
    return StepTime(tensor, "kgen", ms, ELEMENTS, covers=True)


def test_a_step_that_covers_several_layers_is_divided_among_them_by_their_work(graph):
    """A compiler made one kernel of two layers, named after the activation behind the second."""
    steps = [
        covering("r", 3.0),
        covering("c.quantized", 1.0),
        StepTime(None, "Reformat", 0.5, ELEMENTS),
        covering("logits", 2.0),
    ]
    spent = spent_ms(graph, find_atoms(graph), steps)
    assert spent == pytest.approx({"a": 1.5, "b": 1.5, "c": 1.5, "d": 1.0, "logits": 1.0})
    assert named_share(graph, steps) == pytest.approx(6.0 / 6.5)
    assert named_share(graph, [StepTime(None, "x", 1.0, 1), StepTime("foreign", "y", 1.0, 1)]) == 0.0


def test_mixtures_are_found_from_the_steps_of_a_compiler(graph):
    slow = [covering(name, 2.0) for name in ("a", "r", "c", "d", "logits")]
    change = [StepTime("x.quantized", "QuantizeLinear", 0.1, ELEMENTS)]
    fast = [
        covering(name, ms) for name, ms in (("a", 1.0), ("r.quantized", 2.5), ("c", 1.0), ("d", 1.0), ("logits", 2.0))
    ]
    assert StepCosts(graph, place_for_integer_kernels(graph), slow, [*change, *fast]).faster_in_float() == {"b"}
