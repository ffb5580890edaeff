"""A small vision transformer through calibration and build: its linear layers run on integers."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import CLASSES, HEIGHT, WIDTH, small_manifest, write_dataset

from jetseg.data.dataset import open_split
from jetseg.engine.engine import open_engine
from jetseg.network import save_manifest
from jetseg.workflows.building import build_engine

PATCH, CHANNELS = 4, 16
ROWS, COLUMNS = HEIGHT // PATCH, WIDTH // PATCH


@pytest.fixture
def transformer(tmp_path):
    """Patches, layer norm, attention with one head, a linear layer with bias, a linear head, upsampling."""
    rng = np.random.default_rng(0)
    held = {
        "patch": rng.normal(0, 0.3, (CHANNELS, 3, PATCH, PATCH)),
        "ones": np.ones(CHANNELS),
        "zeros": np.zeros(CHANNELS),
        **{name: rng.normal(0, 0.3, (CHANNELS, CHANNELS)) for name in ("wq", "wk", "wv", "w1")},
        "b1": rng.normal(0, 0.3, CHANNELS),
        "w2": rng.normal(0, 0.5, (CHANNELS, len(CLASSES))),
        "scales": np.array([1, 1, PATCH, PATCH]),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()]
    for name, shape in (("rows", [1, CHANNELS, -1]), ("map", [1, len(CLASSES), ROWS, COLUMNS])):
        initializers.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), name))
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "patch"], ["patches"], strides=[PATCH, PATCH]),
        node("Reshape", ["patches", "rows"], ["flat"]),
        node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        node("LayerNormalization", ["tokens", "ones", "zeros"], ["normal"], axis=-1),
        node("MatMul", ["normal", "wq"], ["query"]),
        node("MatMul", ["normal", "wk"], ["key"]),
        node("MatMul", ["normal", "wv"], ["value"]),
        node("Transpose", ["key"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["query", "turned"], ["likeness"]),
        node("Softmax", ["likeness"], ["attention"], axis=-1),
        node("MatMul", ["attention", "value"], ["mixed"]),
        node("Add", ["mixed", "tokens"], ["sum"]),
        node("MatMul", ["sum", "w1"], ["linear"]),
        node("Add", ["linear", "b1"], ["biased"]),
        node("Relu", ["biased"], ["active"]),
        node("MatMul", ["active", "w2"], ["scores"]),
        node("Transpose", ["scores"], ["planes"], perm=[0, 2, 1]),
        node("Reshape", ["planes", "map"], ["coarse"]),
        node("Resize", ["coarse", "", "scales"], ["logits"], mode="linear"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, HEIGHT, WIDTH])]
        for name, channels in (("image", 3), ("logits", len(CLASSES)))
    ]
    graph = helper.make_graph(nodes, "transformer", *ends, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "transformer.onnx"
    onnx.save(model, str(path))
    save_manifest(path, small_manifest())
    return path


@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_linear_layers_run_on_integers_and_the_class_map_stays(transformer, tmp_path, preset):
    data = write_dataset(tmp_path / "data")
    settings = {"data": data, "split": "all", "eval_split": "all", "images": 4, "max_drop": 100, "max_class_drop": 100}
    built = build_engine(transformer, preset=preset, sensitivity=True, **settings, out=tmp_path / "net.int8.onnx")
    assert built.report.integer_layers == ("patches", "query", "key", "value", "linear")
    assert built.report.float_layers == ("scores",)
    dataset = open_split(data, "all")
    with open_engine(transformer) as parent, open_engine(built.path) as engine:
        same = [parent.segment(frame) == engine.segment(frame) for frame in (dataset[i].image_hwc_u8 for i in range(6))]
    assert np.mean(same) > 0.95
