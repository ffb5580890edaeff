"""Of a network of several tasks, one is explained at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import jetseg
from jetseg.errors import ConfigError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest
from jetseg.output_spec import OutputSpec

HEIGHT, WIDTH = 24, 32


def two_masks(path: Path, first: float) -> Path:
    """Finds bright blue, above `first`, and bright red, above 0.5, in pixels from 0 to 1."""
    ends = {"blue": ([1.0, 0.0, 0.0], first), "red": ([0.0, 0.0, 1.0], 0.5)}
    constants = []
    for name, (weight, threshold) in ends.items():
        constants.append(numpy_helper.from_array(20 * np.array(weight, np.float32).reshape(1, 3, 1, 1), f"w_{name}"))
        constants.append(numpy_helper.from_array(np.array([-20 * threshold], np.float32), f"b_{name}"))
    nodes = [helper.make_node("Conv", ["image", f"w_{name}", f"b_{name}"], [name]) for name in ends]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH]) for name in ends]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "masks", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    spec = InputSpec(height=HEIGHT, width=WIDTH, color="bgr", scale=1 / 255, mean=(0, 0, 0), std=(1, 1, 1))
    save_manifest(path, Manifest(input=spec, outputs=tuple(OutputSpec(name=name, task="binary") for name in ends)))
    return path


@pytest.fixture
def data(tmp_path: Path) -> str:
    import cv2

    root, rng = tmp_path / "data", np.random.default_rng(0)
    for folder in ("images", "labels", "red", "blue"):
        (root / folder).mkdir(parents=True)
    for index in range(12):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        frame = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / "images" / f"{index}.png"), frame)
        cv2.imwrite(str(root / "labels" / f"{index}.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
        for number, name in ((0, "blue"), (2, "red")):
            cv2.imwrite(str(root / name / f"{index}.png"), (frame[..., number] > 127).astype(np.uint8))
    values = "label_values: {0: 0, 1: 1}"
    (root / "classes.yaml").write_text(
        f"classes: [all, none]\ntargets:\n  red: {{folder: red, {values}}}\n  blue: {{folder: blue, {values}}}\n"
    )
    return f"folder:{root}"


def test_each_task_is_explained_as_if_there_were_no_other(tmp_path: Path, data: str):
    parent, child = two_masks(tmp_path / "parent.onnx", 0.5), two_masks(tmp_path / "child.onnx", 0.9)
    told = {
        task: jetseg.explain(parent, [child], data=data, split="all", task=task).children[0] for task in ("blue", "red")
    }
    assert told["blue"].findings[0].loss > 10
    assert told["blue"].findings[0].subject in ("", "blue")
    assert not told["red"].findings


def test_which_task_must_be_said(tmp_path: Path, data: str):
    parent = two_masks(tmp_path / "parent.onnx", 0.5)
    for settings, message in (({}, "one of blue, red"), ({"task": "red", "repair": True}, "Repairs")):
        with pytest.raises(ConfigError, match=message):
            jetseg.explain(parent, [parent], data=data, split="all", **settings)
