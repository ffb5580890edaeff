"""A rewrite changes no value, and leaves alone what it must."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.engine.tensorrt.legalize import cast_class_maps_last_, cast_frames_first_, drop_unread_indices_, legalize_
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.errors import ArtifactError
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session


def network(*nodes, constants=()):
    ports = [
        helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, 4, 6, 3]),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, ["a", "b", "c", "d"]),
    ]
    made = helper.make_graph(list(nodes), "frames", ports[:1], ports[1:], list(constants))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


MOVE = helper.make_node("Transpose", ["frame"], ["moved"], perm=[0, 3, 1, 2])
CAST = helper.make_node("Cast", ["moved"], ["cast"], to=TensorProto.FLOAT)
HALVE = helper.make_node("Mul", ["cast", "half"], ["out"])
HALF = numpy_helper.from_array(np.float32(0.5), "half")


def test_a_frame_is_cast_before_it_is_moved_and_all_values_stay():
    model = network(MOVE, CAST, HALVE, constants=[HALF])
    frame = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 3), dtype=np.uint8)
    before = make_session(model.SerializeToString()).run(None, {"frame": frame})[0]
    assert cast_frames_first_(Graph(model)) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Transpose", "Cast", "Mul"]
    np.testing.assert_array_equal(make_session(model.SerializeToString()).run(None, {"frame": frame})[0], before)
    assert cast_frames_first_(Graph(model)) == 0


@pytest.mark.parametrize("operator", ["a cast already", "no mover", "a mover and more"])
def test_other_readers_are_left_alone(operator):
    cast = helper.make_node("Cast", ["frame"], ["out"], to=TensorProto.FLOAT)
    largest = helper.make_node("ReduceMax", ["frame"], ["top"], keepdims=1)
    lifted = helper.make_node("Cast", ["top"], ["out"], to=TensorProto.FLOAT)
    moved = helper.make_node("Transpose", ["frame"], ["m"], perm=[0, 3, 1, 2])
    peak = helper.make_node("ReduceMax", ["m"], ["top"], keepdims=1)
    model = network(
        *{"a cast already": [cast], "no mover": [largest, lifted], "a mover and more": [moved, peak, lifted]}[operator]
    )
    before = model.SerializeToString()
    assert cast_frames_first_(Graph(model)) == 0
    assert model.SerializeToString() == before


def class_map_network(*nodes, output=(TensorProto.UINT8, [1, 8, 8])):
    ports = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("out", *output),
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    made = helper.make_graph(list(nodes), "maps", ports[:1], ports[1:], [axis])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


ARGMAX = helper.make_node("ArgMax", ["image"], ["ids"], axis=1)
TO_UINT8 = helper.make_node("Cast", ["ids"], ["small"], to=TensorProto.UINT8)
SQUEEZE = helper.make_node("Squeeze", ["small", "axis"], ["out"])
POOL = helper.make_node("MaxPool", ["image"], ["out", "where"], kernel_shape=[2, 2], strides=[2, 2])
POOLED = (TensorProto.FLOAT, [1, 3, 4, 4])


def refused_graphs():
    """Graphs that the parser refuses as they are, each with the rewrite for it."""
    return {
        "uint8 inside": (class_map_network(ARGMAX, TO_UINT8, SQUEEZE), cast_class_maps_last_),
        "indices": (class_map_network(POOL, output=POOLED), drop_unread_indices_),
    }


@pytest.mark.parametrize("name", refused_graphs())
def test_a_rewrite_changes_no_value_and_the_real_parser_takes_its_result(name):
    model, rewrite = refused_graphs()[name]
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    before = make_session(model.SerializeToString()).run(["out"], {"image": image})[0]
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")

    def sm86(settings):
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(trt.ComputeCapability.SM86, 0)

    with pytest.raises(ArtifactError, match="TensorRT refuses the network"):
        build_plan(trt, model, sm86)
    assert rewrite(Graph(model)) == 1
    onnx.checker.check_model(model, full_check=True)
    after = make_session(model.SerializeToString()).run(["out"], {"image": image})[0]
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    np.testing.assert_array_equal(after, before)
    assert len(build_plan(trt, model, sm86)) > 10_000
    assert rewrite(Graph(model)) == 0


def test_a_cast_that_more_than_movers_read_is_left_alone():
    other = helper.make_node("Cast", ["small"], ["out"], to=TensorProto.FLOAT)
    model = class_map_network(ARGMAX, TO_UINT8, other, output=(TensorProto.FLOAT, [1, 1, 8, 8]))
    assert cast_class_maps_last_(Graph(model)) == 0
    last = helper.make_node("Cast", ["ids"], ["out"], to=TensorProto.UINT8)
    assert cast_class_maps_last_(Graph(class_map_network(ARGMAX, last, output=(TensorProto.UINT8, [1, 1, 8, 8])))) == 0


def test_indices_that_are_read_stay():
    model = class_map_network(POOL, output=POOLED)
    model.graph.output.append(helper.make_tensor_value_info("where", TensorProto.INT64, [1, 3, 4, 4]))
    assert drop_unread_indices_(Graph(model)) == 0
    assert len(model.graph.node[0].output) == 2


def test_each_rewrite_that_found_something_is_told():
    (sentence,) = legalize_(Graph(class_map_network(ARGMAX, TO_UINT8, SQUEEZE)))
    assert "class map" in sentence
