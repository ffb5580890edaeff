"""A network for tests of `jetseg run`."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.data.dataset import open_split


def write_color_network(folder):
    """Writes a 1x1 convolution from colors to the classes of the synthetic world, with its manifest."""
    classes = open_split("synthetic:1", "test").classes
    weight = np.random.default_rng(0).normal(size=(len(classes), 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["logits"])],
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 48, 80])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(classes), 48, 80])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "colors.onnx"
    onnx.save(model, path)
    manifest = {"classes": classes, "input": {"height": 48, "width": 80}, "ignore_index": 255}
    (folder / "colors.onnx.json").write_text(json.dumps(manifest))
    return path
