r"""Holds the roofline of Jetsons against latencies that others published, and fits its efficiencies to some of them.

    PYTHONPATH=tests python bench/jetson_figures.py --out runs/jetson [--page FILE]

What is fitted is classification, what is reported is segmentation: no figure is in both. Needs the libraries of
tests/zoo/requirements.txt. The operators of each network are kept in the folder, so that an interrupted run goes on.
The efficiencies that it prints stand in jetseg/latency/roofline.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from page import put_into
from scipy.optimize import lsq_linear
from torch import Tensor, nn
from zoo import libraries

from jetseg.exporters.onnx_export import export_module
from jetseg.latency.fusing import fused_units
from jetseg.latency.roofline import Efficiency, Roofline, compare, work
from jetseg.latency.unit import Unit, parse_unit
from jetseg.models import create_model
from jetseg.onnx.graph import Graph
from jetseg.storage import write_json
from jetseg.targets import Target, find_target

EFFICIENTVIT = "mit-han-lab/efficientvit, applications/efficientvit_{}/README.md: FP16, data transfer included"
SUPERGRADIENTS = "Deci-AI/super-gradients, documentation/source/model_zoo.md: FP16"
NANOSAM = "NVIDIA-AI-IOT/nanosam, README.md: FP16"


@dataclass(frozen=True)
class Figure:
    """A published latency.

    Attributes:
        network: Its name; also that of the cached operators, with the size.
        make: Makes the network, with random weights.
        height: Height of its input.
        width: Width of its input.
        target: A name of `jetseg.targets.TARGETS`.
        ms: The latency.
        source: Where it stands.
        fitted: Whether the efficiencies are fitted to it; the others are reported.
    """

    network: str
    make: Callable[[], nn.Module]
    height: int
    width: int
    target: str
    ms: float
    source: str
    fitted: bool = False

    @property
    def title(self) -> str:
        """Network and size of its input."""
        return f"{self.network} {self.height}x{self.width}"


class EfficientVitSegmentation(nn.Module):
    """EfficientViT's segmentation head, after its paper (Cai et al., ICCV 2023), on timm's backbone.

    The last three stages are brought to one width and to the stride of 8, added up, and go through inverted residuals.
    """

    def __init__(self, variant: str, width: int, depth: int, classes: int = 19) -> None:
        super().__init__()
        self.backbone = _backbone(f"efficientvit_{variant}")
        channels = self.backbone.feature_info.channels()[-3:]
        self.entries = nn.ModuleList(_conv(count, width, 1) for count in channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(_conv(width, 4 * width, 1), nn.Hardswish(), _conv(4 * width, 4 * width, 3, groups=4 * width)),
                *(nn.Hardswish(), _conv(4 * width, width, 1)),
            )
            for _ in range(depth)
        )
        self.exit = nn.Sequential(_conv(width, 4 * width, 1), nn.Hardswish(), nn.Conv2d(4 * width, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits at an eighth of the image's size."""
        stages = self.backbone(image)[-3:]
        size = stages[0].shape[2:]
        total = self.entries[0](stages[0])
        for entry, stage in zip(self.entries[1:], stages[1:], strict=True):
            total = total + F.interpolate(entry(stage), size, mode="bilinear", align_corners=False)
        for block in self.blocks:
            total = total + block(total)
        return self.exit(total)


def _conv(entering: int, channels: int, kernel: int, groups: int = 1) -> nn.Module:
    conv = nn.Conv2d(entering, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _backbone(name: str) -> nn.Module:
    return libraries.timm().create_model(name, features_only=True)


def _classifier(name: str) -> Callable[[], nn.Module]:
    return lambda: libraries.timm().create_model(name)


def _seg(variant: str, width: int, depth: int) -> Callable[[], nn.Module]:
    return lambda: EfficientVitSegmentation(variant, width, depth)


def _figures() -> list[Figure]:
    xavier, orin = "xavier-nx", "agx-orin-64gb"
    classes, segments = EFFICIENTVIT.format("cls"), EFFICIENTVIT.format("seg")
    found = [
        Figure(name, _classifier(name), 224, 224, xavier, ms, SUPERGRADIENTS, fitted=True)
        for name, ms in (
            *(("resnet18", 2.01), ("resnet50", 4.78), ("mobilenetv2_100", 1.65), ("regnety_008", 2.77)),
            *(("regnety_002", 2.16), ("mobilenetv3_large_100", 2.42), ("resnet34", 3.57)),
        )
    ]
    found += [
        Figure(f"efficientvit_{name}", _classifier(f"efficientvit_{name}"), size, size, orin, ms, classes, fitted=True)
        for name, size, ms in (
            *(("b1", 224, 1.48), ("b1", 256, 1.57), ("b1", 288, 1.82), ("b2", 224, 2.63), ("b2", 256, 2.84)),
            *(("b2", 288, 3.30), ("b3", 224, 4.36), ("b3", 256, 4.74), ("b3", 288, 5.63)),
        )
    ]
    found += [
        Figure(f"EfficientViT-{name.upper()} seg", _seg(name, width, depth), 1024, 2048, orin, ms, segments)
        for name, width, depth, ms in (
            ("b0", 32, 1, 9.9),
            ("b1", 64, 3, 24.3),
            ("b2", 96, 3, 46.5),
            ("b3", 128, 3, 81.8),
        )
    ]
    found += [
        Figure("EfficientViT-B1 seg", _seg("b1", 64, 3), 512, 512, orin, 4.0, segments),
        Figure("EfficientViT-B3 seg", _seg("b3", 128, 3), 512, 512, orin, 12.5, segments),
        Figure("ResNet-18 of NanoSAM without its head", lambda: _backbone("resnet18"), 1024, 1024, orin, 4.2, NANOSAM),
        Figure(
            "DDRNet-23-slim",
            lambda: create_model("ddrnet-23-slim", 19),
            *(1024, 2048, xavier, 45.18, f"{SUPERGRADIENTS}, IO included"),
        ),
    ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/jetson"), help="folder of the networks' operators")
    parser.add_argument("--page", type=Path, help="page of the documentation to put the table into")
    given = parser.parse_args()
    torch.set_num_threads(1)
    units = {figure.title: operators(figure, given.out) for figure in _figures()}
    for target, efficiency in fit(units).items():
        print(f"{target}: {efficiency}", file=sys.stderr)
    text = page(units)
    print(text)
    if given.page:
        put_into(given.page, "jetson", text)
    return 0


def operators(figure: Figure, folder: Path) -> list[Unit]:
    """Returns the fused operators of a network, from the folder or by exporting it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figure.title}.json"
    if not path.exists():
        example = torch.zeros(1, 3, figure.height, figure.width)
        found = fused_units(Graph(export_module(_First(figure.make()).eval(), example, "output")), "fp16")
        write_json(path, [str(unit) for unit in found])
        print(f"{figure.title}: {sum(unit.macs for unit in found) / 1e9:.2f} GMAC", file=sys.stderr, flush=True)
    return [parse_unit(text) for text in json.loads(path.read_text())]


def fit(units: dict[str, list[Unit]]) -> dict[str, Efficiency]:
    """Fits the efficiencies of each chip; the factor is the worst prediction of fitted figures by another chip's."""
    fitted: dict[str, list[Figure]] = {}
    for figure in _figures():
        if figure.fitted:
            fitted.setdefault(figure.target, []).append(figure)
    solved = {name: _solve(find_target(name), units, figures) for name, figures in fitted.items()}
    factor = max(
        compare(Roofline(find_target(name), "fp16", solved[other]).network(units[figure.title]).latency_ms, figure.ms)
        for name, figures in fitted.items()
        for other in solved
        if other != name
        for figure in figures
    )
    return {name: replace(efficiency, factor=round(factor, 2)) for name, efficiency in solved.items()}


def _solve(target: Target, units: dict[str, list[Unit]], figures: Sequence[Figure]) -> Efficiency:
    """Finds the three costs by least squares of relative errors; no share is above 1."""
    works = np.array([np.sum([work(unit, "fp16") for unit in units[figure.title]], axis=0) for figure in figures])
    at_peak = works / [1.0, target.fp16_tflops * 1e9 / 2, target.bandwidth_gb_per_s * 1e6]
    published = np.array([figure.ms for figure in figures])
    found = lsq_linear(at_peak / published[:, None], np.ones(len(figures)), ([0, 1, 1], np.inf))
    launch, compute, memory = found.x
    return Efficiency(*(float(f"{value:.3g}") for value in (1 / compute, 1 / memory, launch)), 1.0, figures[0].source)


class _First(nn.Module):
    """Returns one tensor of a network that returns several."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        found = self.network(image)
        return found if isinstance(found, Tensor) else found[-1]


def page(units: dict[str, list[Unit]]) -> str:
    """Returns a Markdown table of all figures."""
    lines = [
        "| network | device | published ms | predicted ms | interval | error | used for |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for figure in _figures():
        found = Roofline(find_target(figure.target), "fp16").network(units[figure.title])
        cells = (
            *(figure.title, figure.target, f"{figure.ms:g}", f"{found.latency_ms:.2f}"),
            *(f"{found.low:.2f} to {found.high:.2f}", f"{100 * (found.latency_ms / figure.ms - 1):+.0f} %"),
            "the fit" if figure.fitted else "report",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
