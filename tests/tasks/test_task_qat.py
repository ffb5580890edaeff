"""Several tasks trained under the rounding of their INT8 engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_network import write_task_network

import jetseg
from jetseg.compress.qat.crops import JoinedTasks, open_module
from jetseg.data.dataset import open_split, select_targets
from jetseg.errors import ConfigError
from jetseg.network import Network, open_network
from jetseg.preprocess import Preprocessor

TASKS = select_targets(open_split("synthetic:4", "train"), ["segmentation", "drivable", "depth"])[1]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return open_network(write_task_network(tmp_path / "net.onnx", TASKS))


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
