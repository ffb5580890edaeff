"""A rewrite changes no value, and leaves alone what it must."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.engine.tensorrt.legalize import cast_frames_first_
from jetseg.ort import make_session


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
    assert cast_frames_first_(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Transpose", "Cast", "Mul"]
    np.testing.assert_array_equal(make_session(model.SerializeToString()).run(None, {"frame": frame})[0], before)
    assert cast_frames_first_(model) == 0


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
    assert cast_frames_first_(model) == 0
    assert model.SerializeToString() == before
