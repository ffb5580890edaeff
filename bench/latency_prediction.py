r"""How well latencies are predicted: 40 networks that are not in the table, fp32 and int8, in ONNX Runtime.

    PYTHONPATH=tests python bench/latency_prediction.py --out runs/latency [--page FILE]

Wants a quiet machine, the libraries of tests/zoo/requirements.txt, and jetseg[cpu,train,predict]. The tables are of
networks that are drawn at random; the 40 are the registry's, their pruned children, and those of the zoo, with random
weights, which do not change the speed. Everything that was exported or measured stays in the folder, and is not done
again, so that an interrupted run goes on. The exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from page import put_into
from torch import nn
from zoo import adapted, networks

from jetseg.artifact_file import save_onnx
from jetseg.data.synthetic.classes import CLASSES
from jetseg.engine.measuring import measure_network
from jetseg.exporters.onnx_export import example_input, export_module
from jetseg.input_spec import InputSpec
from jetseg.latency.estimate import LatencyEstimate
from jetseg.latency.predictor import TablePredictor
from jetseg.latency.table import LatencyTable
from jetseg.latency.unit import parse_unit
from jetseg.manifest import Manifest, ModelSpec, Precision
from jetseg.models import create_model
from jetseg.network import open_network
from jetseg.output_spec import OutputSpec
from jetseg.storage import write_json
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.workflows.latency import measure_layers
from jetseg.workflows.pruning import prune

BOUNDS = {"fp32": (0.90, 0.10, 0.20), "int8": (0.85, 0.10, 0.25)}
"""By precision: which share of the networks must be within which error, and all within which."""
COVERAGE = (0.85, 0.95)
_REGISTRY = (
    ("fast-scnn", 256, 512, (0.3, 0.5, 0.7)),
    ("ddrnet-23-slim", 192, 256, (0.3, 0.6)),
    ("efficientnet-lite-fpn", 240, 320, (0.5,)),
    ("unet", 128, 160, (0.4,)),
    ("tiny", 256, 320, (0.5,)),
)
"""Networks of the registry: name, height, width, and the ratios that their children are pruned by."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/latency"), help="folder of networks and measurements")
    parser.add_argument("--sweep", type=int, default=400, help="how many networks are drawn for each table")
    parser.add_argument("--precisions", nargs="*", default=list(BOUNDS), choices=list(BOUNDS))
    parser.add_argument("--page", type=Path, help="page of the documentation to put the tables into")
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = make_networks(given.out / "networks")
    text, missed = [], False
    for precision in given.precisions:
        table = measure_layers(out=given.out / f"{precision}.json", precision=precision, sweep=given.sweep)
        rows = predict(table, measure(files, precision, given.out / f"{precision}.measured.json"))
        text.append(page(rows, precision, table))
        missed |= misses(rows, precision)
    print("\n\n".join(text))
    if given.page:
        put_into(given.page, "processor", "\n\n".join(text))
    return int(missed)


def make_networks(folder: Path) -> dict[str, Path]:
    """Exports the networks that are not there yet; returns their files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, make, height, width in _makers(folder):
        path = found[name] = folder / f"{name}.onnx"
        if not path.exists():
            torch.manual_seed(0)
            manifest = _manifest(height, width)
            save_onnx(path, export_module(make().eval(), example_input(manifest.input), "logits"), manifest)
            print(f"exported {name}", file=sys.stderr, flush=True)
    return found


def _makers(folder: Path) -> Iterator[tuple[str, Callable[[], nn.Module], int, int]]:
    for factory, height, width, ratios in _REGISTRY:
        yield factory, lambda factory=factory: create_model(factory, len(CLASSES)), height, width
        for ratio in ratios:
            yield (
                f"{factory} pruned {ratio}",
                lambda factory=factory, ratio=ratio, size=(height, width): _pruned(folder, factory, ratio, *size),
                height,
                width,
            )
    for name in networks.NAMES:
        yield name, lambda name=name: getattr(adapted, name)(len(CLASSES)), networks.HEIGHT, networks.WIDTH
    yield "vit_linear 64 classes", lambda: adapted.vit_linear(64), networks.HEIGHT, networks.WIDTH


def _pruned(folder: Path, factory: str, ratio: float, height: int, width: int) -> nn.Module:
    whole, less = folder / f"{factory}.safetensors", folder / f"{factory}.{ratio}.safetensors"
    manifest = _manifest(height, width).changed(kind="checkpoint", model=ModelSpec(factory=factory))
    save_checkpoint(whole, create_model(factory, len(CLASSES)), manifest)
    # random weights are all alike, so that layers are thinned by scope layer
    prune(whole, out=less, ratio=ratio, criterion="random", scope="layer")
    return load_checkpoint(open_network(less))[0]


def _manifest(height: int, width: int) -> Manifest:
    spec = InputSpec(height=height, width=width, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return Manifest(kind="onnx", outputs=(OutputSpec(classes=CLASSES),), input=spec)


def measure(files: dict[str, Path], precision: Precision, cache: Path) -> dict[str, tuple[float, list[str]]]:
    """Measures networks that are not in the cache; returns milliseconds and operators of each."""
    known = json.loads(cache.read_text()) if cache.exists() else {}
    for name, path in files.items():
        if name not in known:
            found = measure_network(open_network(path), "onnxruntime", precision, 1)
            known[name] = {"ms": found.ms, "steps": [(str(unit), ms) for unit, ms in found.steps]}
            write_json(cache, known)
            print(f"measured {name} in {precision}: {found.ms:.2f} ms", file=sys.stderr, flush=True)
    return {name: (known[name]["ms"], [unit for unit, _ in known[name]["steps"]]) for name in files if name in known}


def predict(
    table: LatencyTable, measured: dict[str, tuple[float, list[str]]]
) -> dict[str, tuple[float, LatencyEstimate]]:
    """Returns the measured latency and the prediction of each network."""
    predictor = TablePredictor(table)
    return {
        name: (ms, predictor.network([parse_unit(unit) for unit in units])) for name, (ms, units) in measured.items()
    }


def page(rows: dict[str, tuple[float, LatencyEstimate]], precision: Precision, table: LatencyTable) -> str:
    """Returns a Markdown table, with a line of what it comes to."""
    errors = [estimate.latency_ms / ms - 1 for ms, estimate in rows.values()]
    inside = [estimate.low <= ms <= estimate.high for ms, estimate in rows.values()]
    within = [sum(abs(error) <= bound for error in errors) for bound in (0.1, 0.2, 0.25)]
    lines = [
        f"{precision}, {table.device}, {table.backend} {table.version}, {table.threads} thread, table of "
        f"{len(table.networks)} drawn networks ({len(table.units)} operators): of {len(rows)} networks {within[0]} "
        f"within 10 %, {within[1]} within 20 %, {within[2]} within 25 %; the worst {max(map(abs, errors)):.1%}; "
        f"{sum(inside)} inside their interval.",
        "",
        "| network | measured ms | predicted ms | interval | error |",
        "|---|---:|---:|---:|---:|",
    ]
    for (name, (ms, estimate)), error in zip(rows.items(), errors, strict=True):
        interval = f"{estimate.low:.2f} to {estimate.high:.2f}"
        lines.append(f"| {name} | {ms:.2f} | {estimate.latency_ms:.2f} | {interval} | {100 * error:+.1f} % |")
    return "\n".join(lines)


def misses(rows: dict[str, tuple[float, LatencyEstimate]], precision: Precision) -> bool:
    """Tells whether a bound is missed."""
    share, near, far = BOUNDS[precision]
    errors = [abs(estimate.latency_ms / ms - 1) for ms, estimate in rows.values()]
    inside = sum(estimate.low <= ms <= estimate.high for ms, estimate in rows.values()) / len(rows)
    close = sum(error <= near for error in errors) / len(errors)
    return close < share or max(errors) > far or not COVERAGE[0] <= inside <= COVERAGE[1]


if __name__ == "__main__":
    sys.exit(main())
