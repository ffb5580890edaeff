"""Linear layers of transformers in ONNX Runtime's arithmetic."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.session import make_session
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.ranges import TensorRange

TOKENS, WIDTH = 96, 32


@pytest.fixture
def tokens():
    return np.random.default_rng(1).normal(size=(1, TOKENS, WIDTH)).astype(np.float32)


@pytest.fixture
def graph(tmp_path):
    """Two linear layers with bias around a ReLU, added to their input, then a linear head."""
    rng = np.random.default_rng(0)
    spread = np.geomspace(0.1, 1, 2 * WIDTH)  # output channels of very different weights: each needs a scale of its own
    weights = {
        "w1": rng.normal(size=(WIDTH, 2 * WIDTH)) * spread,
        "b1": rng.normal(size=2 * WIDTH),
        "w2": rng.normal(size=(2 * WIDTH, WIDTH)) / spread[:, None] / 8,
        "b2": rng.normal(size=WIDTH),
        "w3": rng.normal(size=(WIDTH, 5)),
    }
    nodes = [
        helper.make_node("MatMul", ["tokens", "w1"], ["m1"]),
        helper.make_node("Add", ["m1", "b1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["m2"]),
        helper.make_node("Add", ["m2", "b2"], ["a2"]),
        helper.make_node("Add", ["a2", "tokens"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w3"], ["logits"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, TOKENS, width])]
        for name, width in (("tokens", WIDTH), ("logits", 5))
    ]
    held = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    model = helper.make_model(helper.make_graph(nodes, "mlp", *ends, held), opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    path = tmp_path / "mlp.onnx"
    onnx.save(model, str(path))
    return load_float_graph(path)


def test_linear_layers_read_integers_and_compute_what_their_quantizers_say(graph, tokens, tmp_path, monkeypatch):
    (right,) = make_session(graph.model.SerializeToString()).run(None, {"tokens": tokens})
    placement = place_for_integer_kernels(graph)
    assert placement.integer_nodes == {"m1", "m2"}  # the head decides the class, in float
    assert set(placement.activations) == {"tokens", "r1"}  # what they write stays float
    hidden = tokens @ graph.weight("w1") + graph.weight("b1")
    bounds = {"tokens": _range(tokens), "r1": _range(np.maximum(hidden, 0))}
    content = ARITHMETICS["onnxruntime"].render(graph, placement, bounds).SerializeToString()
    (exact,) = make_session(content, optimize=False).run(None, {"tokens": tokens})
    optimized = tmp_path / "optimized.onnx"
    monkeypatch.setattr(onnxruntime, "SessionOptions", _writing(onnxruntime.SessionOptions, optimized))
    (kernels,) = make_session(content, integers=True).run(None, {"tokens": tokens})

    assert np.abs(exact - right).max() < 0.03 * np.ptp(right)
    np.testing.assert_allclose(kernels, exact, atol=1e-5 * np.ptp(right))
    operators = Counter(node.op_type for node in onnx.load(optimized, load_external_data=False).graph.node)
    assert operators["MatMulIntegerToFloat"] == 2
    assert operators["MatMul"] + operators["Gemm"] + operators["FusedMatMul"] == 1


def _range(values):
    low, high = float(values.min()), float(values.max())
    return TensorRange(low=low, high=high, amax=max(-low, high), seen_low=low, seen_high=high)


def _writing(kind, path):
    def options():
        made = kind()
        made.optimized_model_filepath = str(path)
        return made

    return options
