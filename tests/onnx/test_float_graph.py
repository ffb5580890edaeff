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
    for node in model.graph.node:
        if node.op_type == "Resize":
            node.input[1] = "w1"  # that opset asks for a region
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


def write(folder, change):
    model = small_network()
    change(model.graph)
    path = folder / "n.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda graph: graph.node.insert(0, graph.node[3]), "reads r1, which nothing before it makes"),
        (lambda graph: graph.node.append(graph.node[3]), "makes c2, which is there already"),
        (lambda graph: graph.initializer.pop(0), "reads w1"),
    ],
)
def test_a_network_that_is_not_sound_is_refused_by_name(tmp_path, change, found):
    with pytest.raises(ArtifactError, match=rf"n\.onnx holds no sound network\. .*{found}"):
        load_float_graph(write(tmp_path, change))


def test_a_folded_bias_does_not_take_the_name_of_another_weight(tmp_path):
    """An exporter may call a weight just as the folded bias would be called."""

    def change(graph):
        for tensor in graph.initializer:
            if tensor.name == "b2":
                tensor.name = "n1.bias"
        graph.node[3].input[2] = "n1.bias"

    path = write(tmp_path, change)
    graph = load_float_graph(path)
    graph.check()
    image = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    (before,) = make_session(path).run(None, {"image": image})
    (after,) = make_session(graph.model.SerializeToString()).run(None, {"image": image})
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_constant_nodes_and_copies_become_initializers(tmp_path):
    def change(graph):
        kernel = next(tensor for tensor in graph.initializer if tensor.name == "w2")
        graph.node.insert(0, helper.make_node("Constant", [], ["kernel"], value=kernel))
        for position, (source, copy) in enumerate((("kernel", "one"), ("one", "two")), 1):
            graph.node.insert(position, helper.make_node("Identity", [source], [copy]))
        graph.node[6].input[1] = "two"

    graph = load_float_graph(write(tmp_path, change))
    assert graph.producer["c2"].input[1] == "kernel"
    assert not {"Constant", "Identity"} & {node.op_type for node in graph.nodes}
    (kernel,) = [tensor for tensor in small_network().graph.initializer if tensor.name == "w2"]
    np.testing.assert_array_equal(graph.weight("kernel"), numpy_helper.to_array(kernel))


@pytest.mark.parametrize("turned", [False, True])
def test_gelu_is_one_operator_for_onnx_runtime_and_has_the_same_values(tmp_path, turned):
    def either(one, other):
        return [other, one] if turned else [one, other]

    nodes = [
        helper.make_node("Div", ["x", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["error"]),
        helper.make_node("Add", either("error", "one"), ["grown"]),
        helper.make_node("Mul", either("half", "grown"), ["share"]),
        helper.make_node("Mul", either("x", "share"), ["y"], "gelu"),
    ]
    constants = {"root": 2**0.5, "one": 1.0, "half": 0.5}
    weights = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 5]) for name in "xy"]
    graph = helper.make_graph(nodes, "gelu", ends[:1], ends[1:], weights)
    path, seen = tmp_path / "gelu.onnx", tmp_path / "seen.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    found = load_float_graph(path)
    found.check()
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    before, after = (
        make_session(model, optimize=False).run(None, {"x": x}) for model in (path, found.model.SerializeToString())
    )
    np.testing.assert_array_equal(after, before)
    make_session(found.model.SerializeToString(), optimized=seen)
    assert [node.op_type for node in onnx.load(str(seen)).graph.node] == ["Gelu"]


@pytest.mark.parametrize(
    "further",
    [
        [helper.make_node("Mul", ["x", "share"], ["y"]), helper.make_node("Relu", ["share"], ["z"])],
        [helper.make_node("Mul", ["share", "share"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
    ],
)
def test_a_product_whose_half_is_read_elsewhere_stays(tmp_path, further):
    nodes = [
        helper.make_node("Erf", ["x"], ["error"]),
        helper.make_node("Add", ["error", "one"], ["grown"]),
        helper.make_node("Mul", ["half", "grown"], ["share"]),
        *further,
    ]
    weights = [numpy_helper.from_array(np.float32(value), name) for name, value in (("one", 1.0), ("half", 0.5))]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xyz"]
    graph = helper.make_graph(nodes, "shared", ends[:1], ends[1:], weights)
    path = tmp_path / "shared.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    assert [node.op_type for node in load_float_graph(path).nodes] == ["Erf", "Add", "Mul", "Mul", "Relu"]
