"""Colored shapes and a network, made by hand, that tells them apart: what is done to it is known exactly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest

HEIGHT, WIDTH = 96, 128
CLASSES = ("road", "sign", "car", "tree")
COLORS = np.array([[0.15, 0.15, 0.15], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.1]])
"""RGB of each class."""
STRENGTHS = np.array([1.0, 0.8, 0.6, 0.4, 0.2])
"""How much each of the five channels of a class has to say."""
CHANNELS = len(STRENGTHS) * (len(CLASSES) - 1)
SIGN_CHANNELS = tuple(range(5))
"""Channels of layer `detect` that see signs, those that say most first."""


def write_shapes(folder: Path, frames: int = 24, seed: int = 0) -> str:
    """Writes labelled frames with rectangles of many sizes; returns their spec."""
    rng = np.random.default_rng(seed)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.yaml").write_text(f"classes: [{', '.join(CLASSES)}]\nignore_index: 255\n")
    for index in range(frames):
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        for size in (24, 18, 14, 8, 8, 3, 3, 3, 3, 3):
            top, left = rng.integers(0, HEIGHT - size), rng.integers(0, WIDTH - size)
            label[top : top + size, left : left + size] = rng.integers(1, len(CLASSES))
        image = COLORS[label] + rng.normal(0, 0.12, (HEIGHT, WIDTH, 3))
        pixels = (255 * image.clip(0, 1)).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{index:03}.png"), pixels[..., ::-1])
        cv2.imwrite(str(folder / "labels" / f"{index:03}.png"), label)
    return f"folder:{folder}"


def weights() -> dict[str, np.ndarray]:
    """Layer `detect` has five channels for the color of each class but the road; layer `decide` adds them up."""
    detect = np.zeros((CHANNELS, 3, 1, 1))
    decide = np.zeros((len(CLASSES), CHANNELS, 1, 1))
    for place in range(CHANNELS):
        number = 1 + place // len(STRENGTHS)
        direction = COLORS[number] - COLORS[number].mean()
        detect[place, :, 0, 0] = direction / np.abs(direction).sum()
        decide[number, place, 0, 0] = 8 * STRENGTHS[place % len(STRENGTHS)]
    return {
        "network.detect.weight": detect,
        "network.detect.bias": np.full(CHANNELS, -0.05),
        "network.decide.weight": decide,
        "network.decide.bias": np.array([4.0, 0.0, 0.0, 0.0]),
    }


def write_network(path: Path, values: dict[str, np.ndarray] | None = None, smooth: int = 0, heat: float = 1.0) -> Path:
    """Writes the network as an ONNX file with its manifest.

    Args:
        path: The file.
        values: Other weights.
        smooth: Side of a window that scores are averaged over.
        heat: Scores are divided by it.
    """
    stored = values or weights()
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "network.detect.weight", "network.detect.bias"], ["seen"]),
        node("Relu", ["seen"], ["positive"]),
        node("Conv", ["positive", "network.decide.weight", "network.decide.bias"], ["scores"]),
    ]
    last = "scores"
    if smooth:
        half = smooth // 2
        nodes.append(
            node("AveragePool", [last], ["even"], kernel_shape=[smooth] * 2, pads=[half] * 4, count_include_pad=0)
        )
        last = "even"
    stored = {**stored, "heat": np.array(1 / heat)}
    nodes.append(node("Mul", [last, "heat"], ["logits"]))
    shape = [1, 3, HEIGHT, WIDTH]
    graph = helper.make_graph(
        nodes,
        "colored",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(CLASSES), HEIGHT, WIDTH])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    save_manifest(path, manifest())
    return path


def manifest() -> Manifest:
    """The manifest of the network."""
    spec = InputSpec(height=HEIGHT, width=WIDTH, scale=1 / 255)
    return Manifest(classes=CLASSES, ignore_index=255, input=spec)
