import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network

from jetseg.errors import ArtifactError
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.session import make_session


def test_folding_keeps_the_output_and_the_names(tmp_path):
    path = tmp_path / "n.onnx"
    onnx.save(small_network(), str(path))
    graph = load_float_graph(path)
    assert all(node.op_type != "BatchNormalization" for node in graph.nodes)
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
    assert [node.op_type for node in graph.nodes] == ["ConvTranspose"]
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


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("opset", "upsampling"), [(9, "Upsample"), (10, "Resize"), (12, "Resize")])
def test_an_old_opset_is_lifted(tmp_path, opset, upsampling, mode):
    """Names stay; so does the output, though the default sampling points of Resize changed with opset 11."""
    rng = np.random.default_rng(0)
    values = {"w": rng.normal(size=(4, 3, 3, 3)), "scales": [1, 1, 1.5, 1.5], "roi": np.zeros(8)}
    sampling = ["r", "scales"] if opset < 11 else ["r", "roi", "scales"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node(upsampling, sampling, ["u"], mode=mode),
        helper.make_node("Softmax", ["u"], ["y"], axis=1),  # from opset 13 on, over this axis alone
    ]
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in values.items()]
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 8, 10]), ("y", [1, 4, 9, 12]))
    ]
    listed = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in initializers]
    model = helper.make_model(
        helper.make_graph(nodes, "old", [*listed, ports[0]], ports[1:], initializers),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=3,
    )
    path = tmp_path / "old.onnx"
    onnx.save(model, str(path))
    before = path.read_bytes()
    graph = load_float_graph(path)
    assert path.read_bytes() == before
    assert graph.model.opset_import[0].version == 13
    assert graph.inputs == ("x",)
    assert {"c", "r", "u", "y"} <= set(graph.producer)
    onnx.checker.check_model(graph.model, full_check=True)
    x = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    (expected,) = make_session(path).run(None, {"x": x})
    (actual,) = make_session(graph.model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_old_files_that_cannot_be_lifted_are_refused(tmp_path):
    model = small_network()
    model.opset_import[0].version = 11
    model.graph.node[2].op_type = "NoSuchOperator"
    path = tmp_path / "old.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ArtifactError, match=r"opset 11.*could not lift it.*NoSuchOperator"):
        load_float_graph(path)


def test_quantized_files_are_refused(tmp_path):
    quantized = small_network()
    quantized.graph.node.append(helper.make_node("DequantizeLinear", ["w1", "gamma"], ["q"]))
    path = tmp_path / "q.onnx"
    onnx.save(quantized, str(path))
    with pytest.raises(ArtifactError, match="quantized already"):
        load_float_graph(path)
