"""A small ONNX segmentation network with the shapes that quantization must get right, made without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.input_spec import InputSpec
from jetseg.manifest import OF_HISTORY, Manifest
from jetseg.manifest_file import manifest_path
from jetseg.network import save_manifest
from jetseg.output_spec import OutputSpec

HEIGHT, WIDTH, CLASSES = 24, 32, ("road", "car", "sky")


def small_network(seed: int = 0, opset: int = 18) -> onnx.ModelProto:
    """Conv+BN+ReLU, a residual addition, a pooled branch, a concatenation, a depthwise layer, an upsampled head."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)),
        "w2": rng.normal(0, 0.2, (8, 8, 3, 3)),
        "w3": rng.normal(0, 0.5, (16, 1, 3, 3)),
        "w4": rng.normal(0, 0.4, (len(CLASSES), 16, 1, 1)),
        "b2": rng.normal(0, 0.1, 8),
        "b4": rng.normal(0, 0.1, len(CLASSES)),
        "gamma": rng.uniform(0.5, 1.5, 8),
        "beta": rng.normal(0, 0.3, 8),
        "mean": rng.normal(0, 0.3, 8),
        "variance": rng.uniform(0.5, 2.0, 8),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([1, 1, 2, 2], dtype=np.float32), "scales"))
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c1", "gamma", "beta", "mean", "variance"], ["n1"], "norm1"),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "r1"], ["sum"]),
        node("Relu", ["sum"], ["r2"]),
        node("MaxPool", ["r1"], ["pooled"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]),
        node("Concat", ["r2", "pooled"], ["both"], axis=1),
        node("Conv", ["both", "w3"], ["c3"], "conv3", pads=[1, 1, 1, 1], group=16),
        node("Relu", ["c3"], ["r3"]),
        node("Conv", ["r3", "w4", "b4"], ["c4"], "head"),
        node("Resize", ["c4", "", "scales"], ["logits"], mode="linear"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(CLASSES), HEIGHT, WIDTH])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def small_manifest() -> Manifest:
    """The manifest of `small_network`."""
    spec = InputSpec(height=HEIGHT, width=WIDTH, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Manifest(classes=CLASSES, ignore_index=255, input=spec)


def write_small_network(folder: Path, seed: int = 0) -> Path:
    """Writes the network and its manifest; returns the ONNX file."""
    path = folder / "small.onnx"
    onnx.save(small_network(seed), str(path))
    save_manifest(path, small_manifest())
    return path


def write_task_network(path: Path, outputs: tuple[OutputSpec, ...]) -> Path:
    """Writes a network of several tasks: two convolutions that all share, and one each, at half of 48 x 80."""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(0, 0.4, (8, 3, 3, 3)), "w2": rng.normal(0, 0.2, (8, 8, 3, 3))}
    weights |= {f"w_{task.name}": rng.normal(0, 0.3, (task.channels, 8, 1, 1)) for task in outputs}
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"]),
        *(node("Conv", ["r2", f"w_{task.name}"], [task.name]) for task in outputs),
    ]
    ends = [helper.make_tensor_value_info(task.name, TensorProto.FLOAT, [1, task.channels, 24, 40]) for task in outputs]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 48, 80])
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tasks", [image], ends, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    spec = InputSpec(height=48, width=80, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    save_manifest(path, Manifest(input=spec, outputs=outputs))
    return path


def edit_manifest(artifact: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Changes the manifest of a file as a user would, by hand; returns the manifest's place.

    That of an ONNX file becomes one that tells nothing of its history; another one is sealed again.
    """
    path = manifest_path(artifact)
    content = json.loads(path.read_text())
    del content["content_sha256"]
    edit(content)
    if content["kind"] == "onnx":
        content = {key: value for key, value in content.items() if key not in OF_HISTORY}
    else:
        content["content_sha256"] = content_sha256(content)
    path.write_text(json.dumps(content))
    return path


def content_sha256(content: dict[str, Any]) -> str:
    """The hash of a manifest's content as docs/concepts/manifests.md describes it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def forget_hash(artifact: Path) -> Path:
    """Takes the file's hash out of its manifest, so that what is spoiled next is found by other means."""
    return edit_manifest(artifact, lambda content: content.update(sha256=None))


def write_dataset(folder: Path, frames: int = 6, seed: int = 0) -> str:
    """Writes a flat labelled image folder; returns its spec. Its only split is `all`."""
    import cv2

    rng = np.random.default_rng(seed)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.yaml").write_text(f"classes: [{', '.join(CLASSES)}]\nignore_index: 255\n")
    for index in range(frames):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        label = rng.integers(0, len(CLASSES), (HEIGHT, WIDTH)).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{index:03}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{index:03}.png"), label)
    return f"folder:{folder}"
