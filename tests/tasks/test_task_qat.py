"""Several tasks trained under the rounding of their INT8 engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import jetseg
from jetseg.compress.qat.crops import JoinedTasks, open_module
from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import Network, open_network, save_manifest
from jetseg.output_spec import OutputSpec
from jetseg.preprocess import Preprocessor

ROAD = OutputSpec(name="segmentation", classes=open_split("synthetic:4", "train").classes)
TASKS = (ROAD, OutputSpec(name="drivable", task="binary"), OutputSpec(name="depth", task="depth"))


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Two convolutions that all tasks share, one of its own for each, at half of the input's size."""
    rng, size = np.random.default_rng(0), (48, 80)
    weights = {"w1": rng.normal(0, 0.4, (8, 3, 3, 3)), "w2": rng.normal(0, 0.2, (8, 8, 3, 3))}
    weights |= {f"w_{task.name}": rng.normal(0, 0.3, (task.channels, 8, 1, 1)) for task in TASKS}
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        *(helper.make_node("Conv", ["r2", f"w_{task.name}"], [task.name]) for task in TASKS),
    ]
    ends = [helper.make_tensor_value_info(task.name, TensorProto.FLOAT, [1, task.channels, 24, 40]) for task in TASKS]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tasks", [image], ends, constants)
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    spec = InputSpec(height=size[0], width=size[1], scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    save_manifest(path, Manifest(input=spec, outputs=TASKS))
    return open_network(path)


def test_the_graph_of_several_tasks_trains_as_one_tensor(network: Network):
    module, manifest = open_module(onnx.load(network.path), network.manifest)
    frame = open_split("synthetic:4", "val")[0].image_hwc_u8
    given = Preprocessor(manifest.input)(frame)
    with torch.no_grad(), jetseg.open_engine(network.path) as engine:
        joined = module(torch.from_numpy(given)).numpy()
        apart = torch.from_numpy(np.concatenate(engine.infer_all(given), axis=1))
    expected = torch.nn.functional.interpolate(apart, size=given.shape[2:], mode="bilinear").numpy()

    assert isinstance(module, JoinedTasks)
    np.testing.assert_allclose(joined, expected, atol=1e-4 * np.abs(expected).max())


def test_all_tasks_learn_under_quantization_from_labels_and_from_the_float_network(network: Network, tmp_path: Path):
    made = jetseg.quantization_aware_train(
        network,
        data="synthetic:6",
        out=tmp_path / "net.qat.onnx",
        epochs=2,
        images=3,
        lr=0.003,
        label_weight=1.0,
        ema_decay=0.0,
    )
    tasks = made.qdq.manifest.accuracy[0].tasks
    assert set(tasks) == {"segmentation", "drivable", "depth"}
    assert made.best_epoch > 0
    with jetseg.open_engine(made.qdq.path) as engine, jetseg.open_engine(made.float_twin.path) as twin:
        frame = open_split("synthetic:4", "val")[0].image_hwc_u8
        rounded, floats = engine.maps(frame), twin.maps(frame)
    assert np.mean(rounded["segmentation"] == floats["segmentation"]) > 0.9
    np.testing.assert_allclose(rounded["depth"], floats["depth"], rtol=0.2)
    with pytest.raises(ConfigError, match="best epoch of several tasks"):
        jetseg.quantization_aware_train(network, data="synthetic:6", out=tmp_path / "other.onnx", labels=False)
