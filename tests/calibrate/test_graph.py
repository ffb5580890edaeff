import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network

from jetseg.calibrate.graph import load_float_graph
from jetseg.errors import ArtifactError
from jetseg.ort import make_session


def test_folding_keeps_the_output_and_the_names(tmp_path):
    path = tmp_path / "n.onnx"
    onnx.save(small_network(), str(path))
    graph = load_float_graph(path)
    assert all(node.op_type != "BatchNormalization" for node in graph.model.graph.node)
    assert "n1" in graph.producer
    image = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    (before,) = make_session(path).run(None, {"image": image})
    (after,) = make_session(graph.model.SerializeToString()).run(None, {"image": image})
    np.testing.assert_allclose(after, before, atol=1e-4)


@pytest.mark.parametrize("group", [1, 2])
def test_batch_norm_folds_into_a_transposed_convolution(tmp_path, group):
    rng = np.random.default_rng(0)
    channels = {name: rng.uniform(0.5, 1.5, 6).astype(np.float32) for name in ("g", "b", "m", "v")}
    kernel = rng.normal(size=(4, 6 // group, 2, 2)).astype(np.float32)
    initializers = [numpy_helper.from_array(value, key) for key, value in {**channels, "w": kernel}.items()]
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["c"], strides=[2, 2], group=group),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 4, 5, 5]), ("y", None))]
    model = helper.make_model(
        helper.make_graph(nodes, "t", ports[:1], ports[1:], initializers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    path = tmp_path / "t.onnx"
    onnx.save(model, str(path))
    graph = load_float_graph(path)
    assert [node.op_type for node in graph.model.graph.node] == ["ConvTranspose"]
    x = rng.normal(size=(1, 4, 5, 5)).astype(np.float32)
    (before,) = make_session(path).run(None, {"x": x})
    (after,) = make_session(graph.model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_initializers_that_are_listed_as_inputs_are_no_inputs(tmp_path):
    model = small_network()
    for tensor in model.graph.initializer:
        port = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.insert(0, port)
    path = tmp_path / "n.onnx"
    onnx.save(model, str(path))
    assert load_float_graph(path).inputs == ("image",)


def test_old_opset_and_quantized_files_are_refused(tmp_path):
    model = small_network()
    model.opset_import[0].version = 11
    old = tmp_path / "old.onnx"
    onnx.save(model, str(old))
    with pytest.raises(ArtifactError, match="opset 11"):
        load_float_graph(old)
    quantized = small_network()
    quantized.graph.node.append(helper.make_node("DequantizeLinear", ["w1", "gamma"], ["q"]))
    path = tmp_path / "q.onnx"
    onnx.save(quantized, str(path))
    with pytest.raises(ArtifactError, match="quantized already"):
        load_float_graph(path)
