"""Channels of far ranges that additions tie together get scales of their own, and the network computes the same."""

import numpy as np
import onnx
import pytest
from hard_network import HEIGHT, WIDTH, hard_network
from onnx import helper
from small_network import small_network

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int
from jetseg.onnx.session import make_session, run_session
from jetseg.quantization.correct.equalization import equalize_
from jetseg.quantization.correct.rescaling import rescale_
from jetseg.quantization.qdq.kernels import is_matrix_layer
from jetseg.quantization.qdq.placement import absorbed_output


def run(graph, image):
    """Returns every activation of four axes."""
    model = onnx.ModelProto.FromString(graph.model.SerializeToString())
    known = {output.name for output in model.graph.output}
    made = [name for node in model.graph.node for name in node.output]
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in made if name not in known)
    found = run_session(make_session(model.SerializeToString(), threads=1), made, {"image": image})
    return {name: values for name, values in zip(made, found, strict=True) if values.ndim == 4}


def ranges(values):
    return {name: np.abs(value).max(axis=(0, 2, 3)).astype(np.float64) for name, value in values.items()}


def spread(widths):
    """Returns how far the widest channel is above the middle one."""
    return float(widths.max() / np.median(widths[widths > 0]))


@pytest.fixture
def image():
    return np.random.default_rng(5).normal(0, 1, (1, 3, HEIGHT, WIDTH)).astype(np.float32)


def test_branches_with_ranges_of_their_own_are_evened_and_compute_the_same(image):
    graph = Graph(hard_network(own=True))
    before = run(graph, image)
    rescaled = graph.copy()
    assert rescale_(rescaled, ranges(before)) >= 3 * 4, "each branch of each block, and what reads them"
    rescaled.check()
    after = run(rescaled, image)
    assert np.abs(after["logits"] - before["logits"]).max() < 1e-5 * np.abs(before["logits"]).max()
    names = [absorbed_output(graph, node) for node in graph.nodes if attribute_int(node, "group", 1) > 1]
    joins = [node for node in rescaled.nodes if is_matrix_layer(rescaled, node) and "rescaled" in node.input[0]]
    assert np.median([spread(ranges(before)[name]) for name in names]) > 20
    assert max(spread(ranges(after)[name]) for name in names) < 2
    assert joins
    assert max(spread(ranges(after)[node.input[0]]) for node in joins) < 2


def test_a_network_of_even_ranges_gets_no_multiplication():
    graph = Graph(small_network())
    image = np.random.default_rng(5).normal(0, 1, (1, 3, 24, 32)).astype(np.float32)
    assert rescale_(graph, ranges(run(graph, image))) == 0


def test_equalization_evens_what_a_batch_norm_reads(image):
    """The sums of the branches are joined and read by nothing else; a runtime may write them in 8 bits."""
    graph = Graph(hard_network())
    before = run(graph, image)
    joined = [node.input[0] for node in graph.nodes if node.op_type == "BatchNormalization"]
    equalize_(graph, ranges(before), {name: values.shape[1] for name, values in before.items()}, norms=True)
    after = run(graph, image)
    assert np.abs(after["logits"] - before["logits"]).max() < 1e-5 * np.abs(before["logits"]).max()
    assert max(spread(ranges(before)[name]) for name in joined) > 20
    assert max(spread(ranges(after)[name]) for name in joined) < 4
