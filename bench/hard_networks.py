r"""What 8 bits keep of networks of dilated depthwise branches whose channels have ranges three decades apart.

    python bench/hard_networks.py [KIND ...] [--seed 0] [--auto] [--data SPEC] [--height 64] [--width 128]

Where the ranges differ, and what takes that back, is the kind of a network. Weights are drawn; the heads are fitted to
labels of drawn scenes by least squares. Each is built for ONNX Runtime with default settings, or with `--auto` for 98 %
of the pixels with at most 15 % of the multiply-accumulates in float; mixtures go by work, not by time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import jetseg
from jetseg.data.dataset import Dataset
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest
from jetseg.onnx.session import make_session, run_session
from jetseg.preprocess import Preprocessor
from jetseg.provenance import device_name, toolchain

KINDS = {
    "sums": "the same ranges in all branches, which are added up and joined; a batch norm and PReLU behind",
    "eesp": "the same, with grouped 1x1 convolutions and batch norms, as in ESPNetv2",
    "gate": "as sums, with squeeze and excitation",
    "plain": "ranges of its own in each branch; joined, not added; a batch norm behind",
    "eespown": "as eesp, ranges of its own in each branch",
    "rough": "ranges of its own in each branch, added up and joined; what reads them takes them back",
    "reader": "as rough, with PReLU before the layer that reads",
    "writer": "what the branches read has far ranges, their weights take them back",
    "perbn": "ranges of its own in each branch, a batch norm behind each",
}
_CLASSES = (
    *("sky", "building", "vegetation", "road", "lane marking"),
    *("pavement", "pole", "sign", "car", "pedestrian"),
)
_CHANNELS, _BLOCKS, _DECADES, _DILATIONS = 64, 3, 3.0, (1, 2, 4, 8)


def main() -> None:
    options = _options()
    print(device_name(), toolchain())
    for kind in options.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{kind}.onnx"
            write(path, kind, options.seed, options.height, options.width)
            built = _build(path, options)
        share = 100.0 * (1.0 - built.report.integer_macs / sum(built.report.macs.values()))
        kept = built.agreement.percent if built.agreement else float("nan")
        print(f"{kind}, seed {options.seed}: {kept:.2f} % of the pixels, {share:.1f} % of the work in float")
        print(*built.attempts, sep="\n")


def write(path: Path, kind: str, seed: int, height: int, width: int) -> None:
    """Writes a network and its manifest."""
    spec = InputSpec(height=height, width=width, scale=1 / 255, mean=(0.5,) * 3, std=(0.25,) * 3)
    model = _Builder(kind, seed).network(height, width)
    _fit_head_(model, spec)
    onnx.save(model, str(path))
    save_manifest(path, Manifest(classes=_CLASSES, ignore_index=255, input=spec))


class _Builder:
    def __init__(self, kind: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind, self.grouped = kind, kind.startswith("eesp")
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def network(self, height: int, width: int) -> onnx.ModelProto:
        """A stem of stride 2, blocks, a head, an upsampling."""
        stem = {"strides": [2, 2], "pads": [1] * 4}
        name = self.node("Relu", self.conv("image", _CHANNELS, 3, 3, **stem))
        for _ in range(_BLOCKS):
            name = self.block(name)
        head = self.conv(name, len(_CLASSES), _CHANNELS)
        scales = self.weight(np.float32([1, 1, 2, 2]))
        self.nodes.append(helper.make_node("Resize", [head, "", scales], ["logits"], "logits", mode="linear"))
        shapes = {"image": [1, 3, height, width], "logits": [1, len(_CLASSES), height, width]}
        ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in shapes.items()]
        graph = helper.make_graph(self.nodes, "hard", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def block(self, name: str) -> str:
        """Reduces, filters by branches of growing dilation, joins them, expands, adds what it read."""
        width, kind = _CHANNELS // len(_DILATIONS), self.kind
        same = self._spread(width)
        scales = [same if kind in ("sums", "eesp", "gate") else self._spread(width) for _ in _DILATIONS]
        branches = self._branches(name, same, scales)
        if kind in ("writer", "perbn"):
            scales = [np.ones(width)] * len(_DILATIONS)
        if kind != "plain":
            branches, scales = self._added(branches), list(np.maximum.accumulate(scales))
        joined, widest = self.node("Concat", *branches, axis=1), np.concatenate(scales)
        if kind in ("rough", "reader"):
            joined = self.prelu(joined, _CHANNELS) if kind == "reader" else joined
            mixed = self.conv(joined, _CHANNELS, _CHANNELS, reads=widest, bias=False)
        else:
            active = self.prelu(self.norm(joined, _CHANNELS, widest**2 * len(branches) / 2), _CHANNELS)
            groups = len(_DILATIONS) if self.grouped else 1
            mixed = self.conv(active, _CHANNELS, _CHANNELS // groups, bias=False, group=groups)
        mixed = self.norm(mixed, _CHANNELS, np.ones(_CHANNELS))
        if kind == "gate":
            pooled = self.conv(self.node("GlobalAveragePool", mixed), _CHANNELS, _CHANNELS)
            mixed = self.node("Mul", mixed, self.node("Sigmoid", pooled))
        total = self.node("Add", mixed, name)
        return self.prelu(total, _CHANNELS) if self.grouped or kind == "gate" else self.node("Relu", total)

    def _branches(self, name: str, same: np.ndarray, scales: list[np.ndarray]) -> list[str]:
        width = len(same)
        if self.grouped:
            reduced = self.conv(name, width, _CHANNELS // len(_DILATIONS), bias=False, group=len(_DILATIONS))
            reduced = self.prelu(self.norm(reduced, width, np.ones(width)), width)
        else:
            written = same if self.kind == "writer" else None
            reduced = self.node("Relu", self.conv(name, width, _CHANNELS, writes=written))
        made = []
        for dilation, scale in zip(_DILATIONS, scales, strict=True):
            far = {"reads": same} if self.kind == "writer" else {"writes": scale}
            around = {"pads": [dilation] * 4, "dilations": [dilation] * 2, "group": width}
            made.append(self.conv(reduced, width, 1, 3, bias=not self.grouped, **far, **around))
        if self.kind == "perbn":
            made = [self.norm(branch, width, scale**2) for branch, scale in zip(made, scales, strict=True)]
        return made

    def _added(self, branches: list[str]) -> list[str]:
        sums = branches[:1]
        for branch in branches[1:]:
            sums.append(self.node("Add", sums[-1], branch))
        return sums

    def conv(
        self,
        name: str,
        outs: int,
        ins: int,
        kernel: int = 1,
        *,
        writes: np.ndarray | None = None,
        reads: np.ndarray | None = None,
        bias: bool = True,
        **more: object,
    ) -> str:
        values = self.rng.normal(0, (2.0 / (ins * kernel * kernel)) ** 0.5, (outs, ins, kernel, kernel))
        if writes is not None:
            values *= writes.reshape(-1, 1, 1, 1)
        if reads is not None:
            values /= reads.reshape((1, -1, 1, 1) if len(reads) == ins else (-1, 1, 1, 1))
        inputs = [name, self.weight(values)]
        if bias:
            inputs.append(self.weight(self.rng.normal(0, 0.1, outs) * (1.0 if writes is None else writes)))
        return self.node("Conv", *inputs, **more)

    def norm(self, name: str, channels: int, variance: np.ndarray) -> str:
        gain, shift = self.rng.uniform(0.7, 1.3, channels), self.rng.normal(0, 0.1, channels)
        constants = map(self.weight, (gain, shift, np.zeros(channels), variance))
        return self.node("BatchNormalization", name, *constants, epsilon=1e-12)

    def prelu(self, name: str, channels: int) -> str:
        return self.node("PRelu", name, self.weight(self.rng.uniform(0.1, 0.4, (channels, 1, 1))))

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def _spread(self, count: int) -> np.ndarray:
        return np.asarray(10 ** (_DECADES * (self.rng.random(count) - 0.5)))


def _fit_head_(model: onnx.ModelProto, spec: InputSpec) -> None:
    graph = model.graph
    head = next(node for node in graph.node if node.output[0] == graph.node[-1].input[0])
    part = onnx.ModelProto.FromString(model.SerializeToString())
    del part.graph.node[-2:], part.graph.output[:]
    part.graph.output.append(helper.make_tensor_value_info(head.input[0], TensorProto.FLOAT, None))
    session, preprocess = make_session(part.SerializeToString(), threads=1), Preprocessor(spec)
    moments, products = np.zeros((_CHANNELS + 1, _CHANNELS + 1)), np.zeros((_CHANNELS + 1, len(_CLASSES)))
    for sample in Dataset("synthetic:16").split("train"):
        found = run_session(session, [head.input[0]], {"image": preprocess(sample.image_hwc_u8)})[0][0]
        rows = np.vstack([found.reshape(_CHANNELS, -1), np.ones((1, found[0].size))])
        assert sample.label_hw_u8 is not None
        labels = cv2.resize(sample.label_hw_u8, found.shape[:0:-1], interpolation=cv2.INTER_NEAREST).ravel()
        moments += rows @ rows.T
        products += rows @ np.eye(256)[labels][:, : len(_CLASSES)]
    held = moments + 1e-3 * np.trace(moments) / _CHANNELS * np.eye(_CHANNELS + 1)
    fitted = np.linalg.solve(held, products)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for name, values in ((head.input[1], fitted[:-1].T[:, :, None, None]), (head.input[2], fitted[-1])):
        weights[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def _build(path: Path, options: argparse.Namespace) -> BuildResult:
    wanted: dict[str, Any] = {"min_agreement": 95.0}
    if options.auto:
        wanted = {"min_agreement": 98.0, "auto": True, "max_float_share": 15.0}
    limits = {"max_drop": 100.0, "max_class_drop": 100.0, "images": options.images, "eval_frames": options.images}
    wanted["out"] = path.with_name("engine.onnx")
    with mock.patch("jetseg.engine.build.hold_contest", return_value=None):
        try:
            return jetseg.build_engine(path, data=options.data, threads=1, estimate=False, **limits, **wanted)
        except EngineRejectedError as error:
            return error.result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="; ".join(f"{name}: {text}" for name, text in KINDS.items()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--auto", action="store_true")
    parser.add_argument("--data", default="synthetic:24")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    return parser.parse_args()


if __name__ == "__main__":
    main()
