r"""What 8 bits keep of networks of dilated depthwise branches whose channels have ranges three decades apart.

    PYTHONPATH=tests python bench/hard_networks.py [KIND ...] [--seed 0] [--auto] [--data SPEC] [--height 64]

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

import numpy as np
import onnx
from hard_network import CHANNELS, CLASSES, DILATIONS, GraphBuilder, fit_head_

import jetseg
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest
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
_DECADES = 3.0


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
    fit_head_(model, spec)
    onnx.save(model, str(path))
    save_manifest(path, Manifest(classes=CLASSES, ignore_index=255, input=spec))


class _Builder(GraphBuilder):
    def __init__(self, kind: str, seed: int) -> None:
        super().__init__(seed)
        self.kind, self.grouped = kind, kind.startswith("eesp")

    def block(self, name: str) -> str:
        """Reduces, filters by branches of growing dilation, joins them, expands, adds what it read."""
        width, kind = CHANNELS // len(DILATIONS), self.kind
        same = self._spread(width)
        scales = [same if kind in ("sums", "eesp", "gate") else self._spread(width) for _ in DILATIONS]
        branches = self._branches(name, same, scales)
        if kind in ("writer", "perbn"):
            scales = [np.ones(width)] * len(DILATIONS)
        if kind != "plain":
            branches, scales = self._added(branches), list(np.maximum.accumulate(scales))
        joined, widest = self.node("Concat", *branches, axis=1), np.concatenate(scales)
        if kind in ("rough", "reader"):
            joined = self.prelu(joined, CHANNELS) if kind == "reader" else joined
            mixed = self.conv(joined, CHANNELS, CHANNELS, reads=widest, bias=False)
        else:
            active = self.prelu(self.norm(joined, CHANNELS, widest**2 * len(branches) / 2), CHANNELS)
            groups = len(DILATIONS) if self.grouped else 1
            mixed = self.conv(active, CHANNELS, CHANNELS // groups, bias=False, group=groups)
        mixed = self.norm(mixed, CHANNELS, np.ones(CHANNELS))
        if kind == "gate":
            pooled = self.conv(self.node("GlobalAveragePool", mixed), CHANNELS, CHANNELS)
            mixed = self.node("Mul", mixed, self.node("Sigmoid", pooled))
        total = self.node("Add", mixed, name)
        return self.prelu(total, CHANNELS) if self.grouped or kind == "gate" else self.node("Relu", total)

    def _branches(self, name: str, same: np.ndarray, scales: list[np.ndarray]) -> list[str]:
        width = len(same)
        if self.grouped:
            reduced = self.conv(name, width, CHANNELS // len(DILATIONS), bias=False, group=len(DILATIONS))
            reduced = self.prelu(self.norm(reduced, width, np.ones(width)), width)
        else:
            written = same if self.kind == "writer" else None
            reduced = self.node("Relu", self.conv(name, width, CHANNELS, writes=written))
        made = []
        for dilation, scale in zip(DILATIONS, scales, strict=True):
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

    def _spread(self, count: int) -> np.ndarray:
        return np.asarray(10 ** (_DECADES * (self.rng.random(count) - 0.5)))


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
