import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from small_network import HEIGHT, WIDTH, small_manifest, small_network, write_dataset

from jetseg.engine.engine import open_engine
from jetseg.errors import ArtifactError
from jetseg.network import open_network, save_manifest
from jetseg.onnx import half
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.half import has_half, to_float32
from jetseg.onnx.session import make_session
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate

IMAGE = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture(params=[True, False], ids=["float32 ends", "float16 ends"])
def written(request, tmp_path):
    """The small network in half precision; its inputs and outputs are in float32 or in half precision."""
    path = tmp_path / "half.onnx"
    onnx.save(convert_float_to_float16(small_network(), keep_io_types=request.param), str(path))
    save_manifest(path, small_manifest())
    return path


def test_half_precision_becomes_the_same_network_in_float32(written):
    assert has_half(onnx.load(str(written)))
    (expected,) = make_session(small_network().SerializeToString()).run(None, {"image": IMAGE})
    graph = load_float_graph(written)
    assert not has_half(graph.model)
    assert "Cast" not in {node.op_type for node in graph.nodes}
    for session in (make_session(written), make_session(graph.model.SerializeToString())):
        (found,) = session.run(None, {session.get_inputs()[0].name: IMAGE})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(expected))


def test_half_precision_goes_through_the_whole_chain(written, tmp_path):
    data = write_dataset(tmp_path / "data")
    ranges = calibrate(written, data=data, split="all", out=tmp_path / "r.json", preset="fast")
    settings = {"data": data, "eval_split": "all", "max_drop": 5, "max_class_drop": 10, "min_agreement": 90}
    built = build_engine(written, ranges=ranges, out=tmp_path / "e.onnx", **settings)
    assert built.agreement is not None
    plain = tmp_path / "plain.onnx"
    onnx.save(small_network(), str(plain))
    save_manifest(plain, small_manifest())
    frame = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    with open_engine(written) as found, open_engine(plain) as expected:
        assert np.mean(found.segment(frame) == expected.segment(frame)) > 0.98


def test_constants_in_nodes_and_in_branches_are_found():
    value = numpy_helper.from_array(np.float16([1.5]))
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["inside"], value=value)],
        "inner",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT16, [1])],
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=inner),
        helper.make_node("Add", ["h", "chosen"], ["sum"]),
        helper.make_node("ConstantOfShape", ["shape"], ["twos"], value=numpy_helper.from_array(np.float16([2.0]))),
        helper.make_node("Mul", ["sum", "twos"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(n, k, [1]) for n, k in (("x", TensorProto.FLOAT), ("y", TensorProto.FLOAT16))
    ]
    weights = [numpy_helper.from_array(np.array(True), "yes"), numpy_helper.from_array(np.array([1]), "shape")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    model = to_float32(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "net")
    assert not has_half(model)
    (found,) = make_session(model.SerializeToString()).run(None, {"x": np.float32([4.0])})
    assert (found.dtype, found.tolist()) == (np.float32, [11.0])


def test_a_conversion_that_computes_something_else_is_refused(written, monkeypatch):
    honest = numpy_helper.to_array
    monkeypatch.setattr(half.numpy_helper, "to_array", lambda tensor: 0.9 * honest(tensor))
    with pytest.raises(ArtifactError, match="computes something else in float32"):
        open_network(written).float_graph()
