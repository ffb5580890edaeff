import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network

from jetseg.errors import CalibrationError
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import TensorRange


def ranges_of(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, TensorRange]:
    """Exact ranges of all observed tensors for one input."""
    watched = onnx.ModelProto()
    watched.CopyFrom(graph.model)
    names = [name for name in observed_tensors(graph) if name not in feeds]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = dict(zip(names, make_session(watched.SerializeToString()).run(names, feeds), strict=True)) | feeds
    return {
        name: TensorRange(
            low=min(0.0, float(v.min())),
            high=max(0.0, float(v.max())),
            amax=float(np.abs(v).max()),
            seen_low=float(v.min()),
            seen_high=float(v.max()),
        )
        for name, v in values.items()
    }


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "n.onnx"
    onnx.save(small_network(), str(path))
    return load_float_graph(path)


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)


def test_error_is_small_and_integer_kernels_equal_exact_arithmetic(graph, image):
    (expected,) = make_session(graph.model.SerializeToString()).run(None, {"image": image})
    bounds = ranges_of(graph, {"image": image})
    model = ARITHMETICS["onnxruntime"].render(graph, place_for_integer_kernels(graph), bounds)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    (exact,) = make_session(content, optimize=False).run(None, {"image": image})
    (kernels,) = make_session(content).run(None, {"image": image})
    noise = np.square(exact - expected).mean() / np.square(expected).mean()
    assert noise < 10**-2.5  # 25 dB
    assert np.square(kernels - exact).mean() / np.square(expected).mean() < 10**-3.5


def test_everything_between_integer_convolutions_stays_on_integers(graph):
    placement = place_for_integer_kernels(graph)
    assert {"n1", "c2", "sum", "pooled", "both", "c3"} <= placement.integer_nodes
    assert "c4" not in placement.integer_nodes  # the head decides the class: float
    assert placement.activations["pooled"] == "r1"  # a pooling keeps its input's range
    assert "n1" not in placement.activations  # no quantizer between a convolution and its activation


def test_nothing_is_rounded_that_only_float_operators_read():
    """An addition of two integer convolutions, read by an activation that no backend fuses: its sum stays float."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["x", "w"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("PRelu", ["sum", "slope"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["c"]),
        helper.make_node("Add", ["c", "c"], ["read"]),
        helper.make_node("Conv", ["read", "w"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    weights = {"w": np.ones((2, 2, 1, 1)), "slope": np.ones((2, 1, 1))}
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 4]) for name in ("x", "y")]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    content = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    placement = place_for_integer_kernels(Graph(helper.make_model(content)))
    assert set(placement.activations) == {"x", "a", "b", "p", "c", "read", "d"}
    assert placement.integer_nodes == {"a", "b", "c", "read", "d"}


def test_kernels_do_not_saturate_at_the_largest_products():
    """All activations 255 and all weights at their limit: AVX2 kernels add such products in 16 bits."""
    weights = np.full((8, 32, 3, 3), 1.0, dtype=np.float32)
    weights[1::2] *= -1
    graph = Graph(_two_convolutions(weights))
    x = np.full((1, 32, 8, 8), 1.0, dtype=np.float32)
    bounds = ranges_of(graph, {"x": x})
    content = ARITHMETICS["onnxruntime"].render(graph, place_for_integer_kernels(graph), bounds).SerializeToString()
    (exact,) = make_session(content, optimize=False).run(None, {"x": x})
    (kernels,) = make_session(content).run(None, {"x": x})
    assert np.abs(exact).max() > 100
    np.testing.assert_allclose(kernels, exact, rtol=0.02)


def test_dead_channels_and_large_biases_survive():
    weights = np.random.default_rng(0).normal(size=(8, 32, 3, 3)).astype(np.float32)
    weights[0] = 0.0
    weights[1] = 1e-12
    graph = Graph(_two_convolutions(weights, bias=np.linspace(-50, 50, 8)))
    x = np.random.default_rng(1).uniform(0, 1, (1, 32, 8, 8)).astype(np.float32)
    (expected,) = make_session(graph.model.SerializeToString()).run(None, {"x": x})
    bounds = ranges_of(graph, {"x": x})
    content = ARITHMETICS["onnxruntime"].render(graph, place_for_integer_kernels(graph), bounds).SerializeToString()
    (actual,) = make_session(content).run(None, {"x": x})
    assert np.abs(actual - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS)
def test_constants_of_quantizers_do_not_take_the_names_of_weights(arithmetic):
    """An exporter may call a weight just as the scale of a quantizer would be called."""
    weights = np.random.default_rng(0).normal(size=(8, 32, 3, 3)).astype(np.float32)
    x = np.random.default_rng(1).uniform(0, 1, (1, 32, 8, 8)).astype(np.float32)

    def rendered(*renamed: str) -> list[np.ndarray]:
        model = _two_convolutions(weights)
        names = dict(zip(["b", "h", "w"], renamed, strict=False))
        for tensor in model.graph.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
        graph = Graph(model)
        bounds = ranges_of(graph, {"x": x})
        model = arithmetic.render(graph, arithmetic.place(graph, "conv-inputs", bounds), bounds)
        return make_session(model.SerializeToString(), optimize=False).run(None, {"x": x})

    plain = rendered()
    assert np.abs(plain[0]).max() > 0
    np.testing.assert_array_equal(rendered("x.scale", "x.zero_point", "x.quantized", "x.dequantized")[0], plain[0])


def test_a_tensor_without_range_is_named(graph):
    with pytest.raises(CalibrationError, match="image"):
        ARITHMETICS["onnxruntime"].render(graph, place_for_integer_kernels(graph), {})


def _two_convolutions(weights: np.ndarray, bias: np.ndarray | None = None) -> onnx.ModelProto:
    """An integer convolution and a float head that passes its channels on."""
    bias = np.zeros(len(weights)) if bias is None else bias
    head = np.eye(len(weights), dtype=np.float32)[:, :, None, None]
    values = {"w": weights, "b": bias.astype(np.float32), "h": head}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Conv", ["c", "h"], ["y"]),
    ]
    shapes = (("x", [1, weights.shape[1], 8, 8]), ("y", [1, len(weights), 6, 6]))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    initializers = [numpy_helper.from_array(value, key) for key, value in values.items()]
    graph = helper.make_graph(nodes, "two", ports[:1], ports[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
