"""A network that 8 bits are hard for: dilated depthwise branches whose channels have ranges three decades apart.

It computes the same as one with even ranges: what the depthwise convolutions blow up or shrink, the batch norm behind
their sums takes back; or, where each branch has ranges of its own, the convolution that reads the sums. Its features are
noise; its head may be trained on them, and what counts is that 8 bits decide as float does.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.data.dataset import Dataset
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest
from jetseg.onnx.session import make_session, run_session
from jetseg.preprocess import Preprocessor

HEIGHT, WIDTH, CHANNELS, BLOCKS = 64, 96, 64, 3
DILATIONS = (1, 2, 4, 8)
CLASSES = ("sky", "building", "vegetation", "road", "lane marking", "pavement", "pole", "sign", "car", "pedestrian")
"""Those of synthetic scenes."""


class GraphBuilder:
    """Draws the weights of a network and joins its nodes; what a layer and a block are, others say.

    Args:
        seed: Of its weights.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def network(self, height: int, width: int) -> onnx.ModelProto:
        """A stem of stride 2, blocks, a head, an upsampling."""
        name = self.node("Relu", self.conv("image", CHANNELS, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]))
        for _ in range(BLOCKS):
            name = self.block(name)
        head = self.conv(name, len(CLASSES), CHANNELS)
        scales = self.weight(np.float32([1, 1, 2, 2]))
        self.nodes.append(helper.make_node("Resize", [head, "", scales], ["logits"], "logits", mode="linear"))
        shapes = {"image": [1, 3, height, width], "logits": [1, len(CLASSES), height, width]}
        ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in shapes.items()]
        graph = helper.make_graph(self.nodes, "hard", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def conv(self, name: str, outs: int, ins: int, kernel: int = 1, **more: object) -> str:
        """Adds a convolution; returns what it makes."""
        raise NotImplementedError

    def block(self, name: str) -> str:
        """Adds a block; returns what it makes."""
        raise NotImplementedError

    def weight(self, values: np.ndarray) -> str:
        """Adds a constant; returns its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Adds a node; returns what it makes."""
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name


class _Builder(GraphBuilder):
    def __init__(self, seed: int, dilations: tuple[int, ...], *, own: bool) -> None:
        super().__init__(seed)
        self.dilations = dilations
        self.own = own

    def conv(
        self, name: str, outs: int, ins: int, kernel: int = 1, scale: np.ndarray | None = None, **more: object
    ) -> str:
        values = self.rng.normal(0, (2.0 / (ins * kernel * kernel)) ** 0.5, (outs, ins, kernel, kernel))
        if scale is not None:
            values *= scale.reshape(-1, 1, 1, 1)
        return self.node("Conv", name, self.weight(values), self.weight(np.zeros(outs)), **more)

    def block(self, name: str) -> str:
        """Reduces, filters by depthwise branches of growing dilation, sums them up in steps, joins, expands."""
        width, count = CHANNELS // len(self.dilations), len(self.dilations)
        drawn = 10 ** self.rng.uniform(-1.5, 1.5, (count if self.own else 1, width))
        scales = np.broadcast_to(drawn, (count, width))
        reduced = self.node("Relu", self.conv(name, width, CHANNELS))
        sums: list[str] = []
        for dilation, scale in zip(self.dilations, scales, strict=True):
            around = {"pads": [dilation] * 4, "dilations": [dilation] * 2, "group": width}
            found = self.conv(reduced, width, 1, 3, scale, **around)
            sums.append(self.node("Add", sums[-1], found) if sums else found)
        joined = self.node("Concat", *sums, axis=1)
        spread = np.maximum.accumulate(scales).ravel()
        if not self.own:
            norm = [np.ones(CHANNELS), np.zeros(CHANNELS), np.zeros(CHANNELS), spread**2]
            joined = self.node("BatchNormalization", joined, *map(self.weight, norm), epsilon=1e-12)
        slopes = self.weight(self.rng.uniform(0.1, 0.4, (CHANNELS, 1, 1)))
        expanded = self.conv(self.node("PRelu", joined, slopes), CHANNELS, CHANNELS)
        if self.own:
            tensor = self.weights[-2]  # of the convolution: its bias is the last one
            values = numpy_helper.to_array(tensor) / spread[None, :, None, None]
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
        return self.node("Relu", self.node("Add", expanded, name))


def hard_network(seed: int = 0, dilations: tuple[int, ...] = DILATIONS, *, own: bool = False) -> onnx.ModelProto:
    """The network: a stem of stride 2, blocks, a head, an upsampling.

    Args:
        seed: Of its weights.
        dilations: One for each branch.
        own: Whether each branch has ranges of its own, and no batch norm stands behind the sums.
    """
    return _Builder(seed, dilations, own=own).network(HEIGHT, WIDTH)


def write_hard_network(
    folder: Path, seed: int = 0, dilations: tuple[int, ...] = DILATIONS, *, trained: bool = False, own: bool = False
) -> Path:
    """Writes the network and its manifest; returns the ONNX file."""
    path = folder / "hard.onnx"
    spec = InputSpec(height=HEIGHT, width=WIDTH, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    model = hard_network(seed, dilations, own=own)
    if trained:
        fit_head_(model, spec)
    onnx.save(model, str(path))
    save_manifest(path, Manifest(classes=CLASSES, ignore_index=255, input=spec))
    return path


def fit_head_(model: onnx.ModelProto, spec: InputSpec) -> None:
    """Fits the head to labels of synthetic scenes, by least squares."""
    graph = model.graph
    head = next(node for node in graph.node if node.output[0] == graph.node[-1].input[0])
    part = onnx.ModelProto.FromString(model.SerializeToString())
    del part.graph.node[-2:], part.graph.output[:]
    part.graph.output.append(helper.make_tensor_value_info(head.input[0], TensorProto.FLOAT, None))
    session, preprocess = make_session(part.SerializeToString(), threads=1), Preprocessor(spec)
    moments, products = np.zeros((CHANNELS + 1, CHANNELS + 1)), np.zeros((CHANNELS + 1, len(CLASSES)))
    for sample in Dataset("synthetic:16").split("train"):
        features = run_session(session, [head.input[0]], {"image": preprocess(sample.image_hwc_u8)})[0][0]
        rows = np.vstack([features.reshape(CHANNELS, -1), np.ones((1, features[0].size))])
        labels = cv2.resize(sample.label_hw_u8, features.shape[:0:-1], interpolation=cv2.INTER_NEAREST).ravel()
        moments += rows @ rows.T
        products += rows @ np.eye(256)[labels][:, : len(CLASSES)]
    found = np.linalg.solve(moments + 1e-3 * np.trace(moments) / CHANNELS * np.eye(CHANNELS + 1), products)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for name, values in ((head.input[1], found[:-1].T[:, :, None, None]), (head.input[2], found[-1])):
        weights[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
