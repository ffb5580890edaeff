"""Mixtures of float and integers: each the fastest for what it loses, told from single quantizers."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.engine.backend import StepTime
from jetseg.engine.mixing import StepCosts
from jetseg.engine.mixtures import costs_of_layers, find_mixtures
from jetseg.onnx.graph import Graph
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.sensitivity import LayerEffect, QuantizerEffect

LAYERS = ("a", "b", "c", "d")


@pytest.fixture
def graph():
    """Four convolutions in a row, and a head; the second has four times the work of the others."""
    nodes = [helper.make_node("Conv", [read, "w"], [made]) for read, made in (("x", "a"), ("b", "c"), ("c", "d"))]
    nodes.insert(1, helper.make_node("Conv", ["a", "wide"], ["b"], pads=[0, 0, 1, 1]))
    nodes.append(helper.make_node("Conv", ["d", "w"], ["logits"]))
    weights = {"w": np.zeros((4, 4, 1, 1), np.float32), "wide": np.zeros((4, 4, 2, 2), np.float32)}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4, 8, 8)) for name in ("x", "logits")]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    content = helper.make_graph(nodes, "row", ends[:1], ends[1:], initializers)
    return Graph(helper.make_model(content, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def effect(layer, loss, *others):
    """A layer of which one quantizer is to blame, and with it other nodes."""
    return LayerEffect(layer, 100.0 - loss, (QuantizerEffect(layer, 100.0 - loss, (layer, *others)),))


def costs(graph, in_float, change=0.0):
    """Costs with one millisecond on integers for each layer; `change` is what a quantizer takes."""
    slow = [StepTime(name, "Conv", ms, 256) for name, ms in zip(LAYERS, in_float, strict=True)]
    changes = [StepTime(None, "QuantizeLinear", change, 256)]
    fast = [StepTime(name, "QLinearConv", 1.0, 256) for name in LAYERS]
    return StepCosts(graph, place_for_integer_kernels(graph), slow, [*changes, *fast])


def first(mixtures, loss):
    return set(next(found for found in mixtures if found.loss <= loss).in_float)


def test_what_quantizers_lose_adds_up_by_its_squares(graph):
    """Of 3 and 4 % together 5 are lost, and what is lost is known: 2.5."""
    found = find_mixtures(costs(graph, [2.0] * 4), [effect("a", 3.0), effect("c", 4.0)], 2.5)
    assert {frozenset({"c"}): 1.5, frozenset({"a", "c"}): 0.0} == {
        one.in_float: pytest.approx(one.loss) for one in found
    }


def test_the_dearer_layer_stays_on_integers_where_both_win_the_same(graph):
    found = find_mixtures(costs(graph, [2.0, 2.0, 5.0, 2.0]), [effect("a", 3.0), effect("c", 3.0)], 4.0)
    assert first(found, 3.0) == {"a"}


def test_what_several_nodes_round_is_gone_only_if_all_are_in_float(graph):
    found = find_mixtures(costs(graph, [2.0] * 4), [effect("c", 4.0, "d"), effect("a", 1.0)], 4.0)
    assert first(found, 1.5) == {"c", "d"}


def test_neighbors_go_to_float_together_where_quantizers_cost_more_than_they(graph):
    """Between two layers in float, one on integers would pay two changes of numbers."""
    effects = [effect("a", 3.0), effect("c", 3.0)]
    assert first(find_mixtures(costs(graph, [2.0] * 4, change=9.0), effects, 4.0), 0.1) == {*LAYERS}
    assert first(find_mixtures(costs(graph, [2.0] * 4), effects, 4.0), 0.1) == {"a", "c"}


def test_where_times_do_not_differ_few_multiply_accumulates_are_in_float(graph):
    found = find_mixtures(costs(graph, [1.0] * 4), [effect("b", 3.0), effect("d", 2.5)], 4.0)
    assert first(found, 3.5) == {"d"}


def test_what_is_in_float_already_is_not_among_them(graph):
    kept = costs(graph, [2.0] * 4).without({"a"})
    assert first(find_mixtures(kept, [effect("c", 3.0)], 4.0), 0.1) == {"c"}


def test_without_steps_what_is_known_of_layers_decides(graph):
    """The second layer has four times the work of the first, and is taken to cost four times as much."""
    effects = [LayerEffect("a", 97.0, effect("a", 3.0).quantizers, float_ms=2.0), effect("b", 3.0)]
    known = costs_of_layers(graph, place_for_integer_kernels(graph), effects)
    assert (known.longer_ms(frozenset("a")), known.longer_ms(frozenset("b"))) == (2.0, 8.0)
    assert first(find_mixtures(known, effects, 4.0), 3.0) == {"a"}


def test_without_a_loss_there_is_nothing_to_mix(graph):
    assert find_mixtures(costs(graph, [2.0] * 4), [effect("a", 0.0)], 1.0) == []


def test_no_more_work_is_in_float_than_may_be(graph):
    """Half of the work is in the noisiest layer, which takes no longer in float."""
    noisy = [effect("a", 2.0), effect("b", 3.0), effect("d", 2.0)]
    known = costs(graph, [2.0, 1.0, 2.0, 2.0])
    whole = find_mixtures(known, noisy, 4.0)
    bounded = find_mixtures(known, noisy, 4.0, 40.0)
    assert any("b" in found.in_float for found in whole)
    assert max(known.share_in_float(found.in_float) for found in bounded) <= 40.0
    assert bounded[-1].in_float == {"a", "d"}


def test_the_work_that_may_be_in_float_is_used(graph):
    """What is best for each price has the large layer first, which is too much; smaller ones fit."""
    noisy = [effect("a", 1.0), effect("b", 3.0), effect("c", 0.5), effect("d", 0.1)]
    known = costs(graph, [2.0, 5.0, 2.0, 2.0])
    assert known.share_in_float(frozenset("ac")) == 37.5
    assert find_mixtures(known, noisy, 4.0, 37.5)[-1].in_float == {"a", "c"}
    assert find_mixtures(known, noisy, 4.0, 37.4)[-1].in_float == {"a"}
