"""A small vision transformer in ONNX, as torch exports it: attention with one head, GELU, biases as additions."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_network import CLASSES, HEIGHT, WIDTH

PATCH, CHANNELS, HIDDEN = 4, 16, 32
ROWS, COLUMNS = HEIGHT // PATCH, WIDTH // PATCH
TOKENS = ROWS * COLUMNS
LINEAR = ("query", "key", "value", "mixed_out", "fc1", "fc2")
"""Products with constant weights that are not the head."""
ATTENTION = ("likeness", "mixed")
"""Products of two activations."""
_OUTLIERS, _FACTOR = (3, 9), 25.0


def small_transformer(*, outliers: bool = False, seed: int = 0) -> onnx.ModelProto:
    """Returns the network; with outliers, channels of the norms are wide and the next rows narrow: the same function."""
    held = _weights(np.random.default_rng(seed))
    if outliers:
        for norm, readers in (("norm1", ("wq", "wk", "wv")), ("norm2", ("w1",))):
            for name in (f"{norm}.gain", f"{norm}.shift"):
                held[name][list(_OUTLIERS)] *= _FACTOR
            for name in readers:
                held[name][list(_OUTLIERS)] /= _FACTOR
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()]
    for name, shape in (("rows", [1, CHANNELS, -1]), ("map", [1, len(CLASSES), ROWS, COLUMNS])):
        initializers.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), name))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, HEIGHT, WIDTH])]
        for name, channels in (("image", 3), ("logits", len(CLASSES)))
    ]
    graph = helper.make_graph(_nodes(), "transformer", *ends, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def _weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    held = {
        "patch": rng.normal(0, 0.3, (CHANNELS, 3, PATCH, PATCH)),
        "scale": np.array(CHANNELS**-0.5),
        "root": np.array(2**0.5),
        "one": np.array(1.0),
        "half": np.array(0.5),
        "scales": np.array([1, 1, PATCH, PATCH]),
        "head": rng.normal(0, 0.5, (CHANNELS, len(CLASSES))),
    }
    for name in ("norm1", "norm2", "norm3"):
        held |= {f"{name}.gain": rng.uniform(0.5, 1.5, CHANNELS), f"{name}.shift": rng.normal(0, 0.3, CHANNELS)}
    for name, shape in (("w1", (CHANNELS, HIDDEN)), ("w2", (HIDDEN, CHANNELS))):
        held |= {name: rng.normal(0, 0.3, shape), f"b{name[1]}": rng.normal(0, 0.3, shape[1])}
    for name in ("q", "k", "v", "o"):
        held |= {f"w{name}": rng.normal(0, 0.3, (CHANNELS, CHANNELS)), f"b{name}": rng.normal(0, 0.3, CHANNELS)}
    return held


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    heads = [
        made
        for name, short in (("query", "q"), ("key", "k"), ("value", "v"))
        for made in (node("MatMul", ["normal1", f"w{short}"], [name]), node("Add", [name, f"b{short}"], [short]))
    ]
    return [
        node("Conv", ["image", "patch"], ["patches"], strides=[PATCH, PATCH]),
        node("Reshape", ["patches", "rows"], ["flat"]),
        node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        node("LayerNormalization", ["tokens", "norm1.gain", "norm1.shift"], ["normal1"], axis=-1),
        *heads,
        node("Mul", ["q", "scale"], ["scaled"]),
        node("Transpose", ["k"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["scaled", "turned"], ["likeness"]),
        node("Softmax", ["likeness"], ["attention"], axis=-1),
        node("MatMul", ["attention", "v"], ["mixed"]),
        node("MatMul", ["mixed", "wo"], ["mixed_out"]),
        node("Add", ["mixed_out", "bo"], ["biased_out"]),
        node("Add", ["tokens", "biased_out"], ["stream1"]),
        node("LayerNormalization", ["stream1", "norm2.gain", "norm2.shift"], ["normal2"], axis=-1),
        node("MatMul", ["normal2", "w1"], ["fc1"]),
        node("Add", ["fc1", "b1"], ["hidden"]),
        node("Div", ["hidden", "root"], ["divided"]),
        node("Erf", ["divided"], ["erf"]),
        node("Add", ["erf", "one"], ["raised"]),
        node("Mul", ["half", "raised"], ["gate"]),
        node("Mul", ["hidden", "gate"], ["gelu"]),
        node("MatMul", ["gelu", "w2"], ["fc2"]),
        node("Add", ["fc2", "b2"], ["biased2"]),
        node("Add", ["stream1", "biased2"], ["stream2"]),
        node("LayerNormalization", ["stream2", "norm3.gain", "norm3.shift"], ["normal3"], axis=-1),
        node("MatMul", ["normal3", "head"], ["scores"]),
        node("Transpose", ["scores"], ["planes"], perm=[0, 2, 1]),
        node("Reshape", ["planes", "map"], ["coarse"]),
        node("Resize", ["coarse", "", "scales"], ["logits"], mode="linear"),
    ]
