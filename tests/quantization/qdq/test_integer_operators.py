"""Gates and activations between quantized layers: right in value, and no float kernel is left between the layers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.qdq.integer_placement import ONNX_RUNTIME, place_for_integer_kernels
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import TensorRange

NODE = helper.make_node
X = np.random.default_rng(5).normal(0, 2, (1, 8, 16, 24)).astype(np.float32)
CHAINS = {
    "hard swish": [NODE("HardSwish", ["first"], ["last"])],
    "swish": [NODE("Sigmoid", ["first"], ["share"]), NODE("Mul", ["first", "share"], ["last"])],
    "hard sigmoid": [NODE("HardSigmoid", ["first"], ["last"], alpha=0.25, beta=0.4)],
    "leaky": [NODE("LeakyRelu", ["first"], ["last"], alpha=0.1)],
    "gate": [
        NODE("ReduceMean", ["first", "axes"], ["mean"]),
        NODE("Conv", ["mean", "w1"], ["squeezed"]),
        NODE("HardSigmoid", ["squeezed"], ["share"], alpha=1 / 6, beta=0.5),
        NODE("Mul", ["first", "share"], ["last"]),
    ],
}


def network(chain):
    rng = np.random.default_rng(0)
    weights = {f"w{index}": rng.normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32) for index in range(4)}
    weights["axes"] = np.int64([2, 3])
    nodes = [NODE("Conv", ["x", "w0"], ["first"]), *chain]
    nodes += [NODE("Conv", ["last", "w2"], ["middle"]), NODE("Conv", ["middle", "w3"], ["logits"])]
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items() if name in read],
    )
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def seen_ranges(graph):
    names = [name for name in observed_tensors(graph) if name != "x"]
    watched = graph.copy().model
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    values = dict(zip(names, make_session(watched.SerializeToString()).run(names, {"x": X}), strict=True)) | {"x": X}
    bounds = {name: (float(value.min()), float(value.max())) for name, value in values.items()}
    return {
        name: TensorRange(low=low, high=high, amax=max(-low, high), seen_low=low, seen_high=high)
        for name, (low, high) in bounds.items()
    }


@pytest.mark.parametrize("name", CHAINS)
def test_values_are_those_of_the_float_network_and_kernels_are_integer(name, tmp_path):
    graph = network(CHAINS[name])
    (expected,) = make_session(graph.model.SerializeToString()).run(None, {"x": X})
    ranges = seen_ranges(graph)
    content = ARITHMETICS["onnxruntime"].render(graph, place_for_integer_kernels(graph), ranges).SerializeToString()
    (exact,) = make_session(content, optimize=False).run(None, {"x": X})
    session = make_session(content, threads=1, profile=tmp_path / "steps")
    (kernels,) = session.run(None, {"x": X})
    signal = np.linalg.norm(expected)
    assert np.linalg.norm(exact - expected) < 0.05 * signal
    assert np.linalg.norm(kernels - exact) < 0.02 * signal
    with Path(session.end_profiling()).open() as file:
        steps = {event["args"]["op_name"] for event in json.load(file) if event.get("cat") == "Node"}
    in_float = {"HardSigmoid"} if name == "gate" else set()  # it has one position, as the convolution before it
    assert steps.isdisjoint({"HardSwish", "HardSigmoid", "Sigmoid", "Mul", "Add", "LeakyRelu", "ReduceMean"} - in_float)


def test_what_is_seen_of_the_whole_image_is_rounded_only_where_it_meets_the_image_again():
    """What a convolution of one position loses every pixel loses, and in float it takes next to no time."""
    graph = network(CHAINS["gate"])
    placement = place_for_integer_kernels(graph, ranges=seen_ranges(graph))
    assert placement.integer_nodes.isdisjoint({"squeezed", "share"})
    assert {"first", "mean", "last"} <= placement.integer_nodes
    assert placement.activations.keys() >= {"mean", "share", "last"}
    assert "squeezed" not in placement.activations


def test_an_operator_without_a_range_stays_in_float():
    """Ranges of earlier versions lack the tensors behind products: such files hold as they did."""
    graph = network(CHAINS["swish"])
    assert {"share", "last"} <= place_for_integer_kernels(graph).integer_nodes
    ranges = {name: entry for name, entry in seen_ranges(graph).items() if name != "last"}
    placement = place_for_integer_kernels(graph, ranges=ranges)
    assert "last" not in placement.integer_nodes
    assert "share" not in placement.integer_nodes


def test_operators_that_shall_be_in_float_are():
    graph = network(CHAINS["swish"])
    placement = place_for_integer_kernels(graph, frozenset({"last"}))
    assert "last" not in placement.integer_nodes
    assert "first" in placement.integer_nodes


def test_a_mean_over_channels_or_without_its_axes_is_no_pooling():
    for chain in (
        [NODE("ReduceMean", ["first", "axes"], ["last"], keepdims=0)],
        [NODE("ReduceMean", ["first"], ["last"])],
    ):
        graph = network(chain)
        assert "last" not in place_for_integer_kernels(graph).integer_nodes


JOINED = [
    NODE("Tanh", ["first"], ["one"]),
    NODE("Softsign", ["first"], ["other"]),
    NODE("Concat", ["one", "other"], ["last"], axis=2),
]


def test_what_float_operators_made_is_joined_as_bytes_with_the_values_that_it_had(tmp_path):
    graph, found = network(JOINED), {}
    ranges = seen_ranges(graph)
    for name in ("before", "after"):
        kernels = (
            ONNX_RUNTIME if name == "before" else replace(ONNX_RUNTIME, operators=ONNX_RUNTIME.operators - {"Concat"})
        )
        placement = place_for_integer_kernels(graph, ranges=ranges, kernels=kernels)
        content = ARITHMETICS["onnxruntime"].render(graph.copy(), placement, ranges).SerializeToString()
        session = make_session(content, threads=1, integers=True, profile=tmp_path / name)
        (found[name],) = session.run(None, {"x": X})
        with Path(session.end_profiling()).open() as file:
            steps = {event["args"]["op_name"] for event in json.load(file) if event.get("cat") == "Node"}
        assert ("QLinearConcat" in steps) == (name == "before")
    np.testing.assert_array_equal(found["before"], found["after"])


@pytest.mark.parametrize(
    "further",
    [
        [NODE("Tanh", ["last"], ["end"])],
        [NODE("Conv", ["one", "w1"], ["more"]), NODE("Conv", ["more", "w1"], ["end"])],
    ],
)
def test_what_others_read_as_well_is_rounded_after_it_was_joined(further):
    """A float operator would get rounded values, and another layer has another scale for what is joined."""
    graph = network([*JOINED, *further])
    graph.model.graph.output.append(helper.make_tensor_value_info("end", TensorProto.FLOAT, None))
    assert "last" not in place_for_integer_kernels(Graph(graph.model)).integer_nodes
