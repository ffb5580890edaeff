"""Each rule is met by a good network, and broken by one change to it."""

import numpy as np
import onnx
import pytest
from illegal_graphs import BREACHES, good_network, node_of, quantize, read, set_constant
from onnx import TensorProto, helper
from small_network import small_network

from jetseg.onnx.float_graph import load_float_graph
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.qdq.placement import observed_tensors, place_symmetric
from jetseg.quantization.ranges import TensorRange
from jetseg.quantization.tensorrt.rules import check_qdq


@pytest.fixture
def model():
    return good_network()


def test_a_good_network_has_no_problem(model):
    onnx.checker.check_model(model, full_check=True)
    assert check_qdq(model) == []


@pytest.mark.parametrize(("change", "place", "found"), BREACHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_breach_is_found(model, change, place, found):
    change(model)
    (problem,) = check_qdq(model)
    assert problem.place == place
    assert found in problem.found
    assert problem.fix


def test_a_quantizer_may_follow_what_does_not_fuse(model):
    """The convolution is also read by something else, so its output is stored anyway."""
    quantize(model, "n1", "r1")
    model.graph.output.append(helper.make_tensor_value_info("n1", TensorProto.FLOAT, [1, 8, 12, 16]))
    assert check_qdq(model) == []


def test_one_of_two_convolutions_that_are_added_may_be_quantized(model):
    """It is stored; the other one is added within its kernel."""
    position = list(model.graph.node).index(node_of(model, "sum"))
    model.graph.node.insert(position, helper.make_node("Conv", ["r1.dq", "w2.dq"], ["c3"], pads=[1, 1, 1, 1]))
    read(model, "sum", "r1.dq", "c3")
    quantize(model, "c2", "sum")
    assert check_qdq(model) == []
    quantize(model, "c3", "sum")
    assert [problem.place for problem in check_qdq(model)] == ["sum"]


def test_numbers_may_be_constant_nodes(model):
    set_constant(model, "image.scale", -1.0)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "image.scale")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["image.scale"], value=tensor))
    model.graph.initializer.remove(tensor)
    (problem,) = check_qdq(model)
    assert "positive finite" in problem.found


def test_weights_may_have_one_scale(model):
    set_constant(model, "w1.scale", 0.01)
    set_constant(model, "w1.zero", 0, np.int8)
    assert check_qdq(model) == []


@pytest.mark.parametrize("policy", ["conv-inputs", "full"])
def test_what_is_rendered_for_tensorrt_is_legal(tmp_path, policy):
    path = tmp_path / "n.onnx"
    onnx.save(small_network(), str(path))
    graph = load_float_graph(path)
    ranges = {
        name: TensorRange(low=-2.0, high=2.0, amax=2.0, seen_low=-2.0, seen_high=2.0)
        for name in observed_tensors(graph)
    }
    rendered = ARITHMETICS["tensorrt"].render(graph, place_symmetric(graph, policy, ranges), ranges)
    assert any(node.op_type == "QuantizeLinear" for node in rendered.graph.node)
    assert check_qdq(rendered) == []


@pytest.mark.tensorrt
def test_nvidias_parser_takes_the_good_network(model):
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX, of the extra rtx, is not installed")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(model.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    assert builder.build_serialized_network(network, config) is not None
