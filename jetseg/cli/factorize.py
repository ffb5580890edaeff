"""`jetseg factorize`: splits convolutions into chains of smaller ones where that pays."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jetseg.cli import training as t
from jetseg.cli.fine_tuning import FineTuning, run_folder
from jetseg.errors import QualityError

if TYPE_CHECKING:
    from jetseg.compress.factorize import FactorizeResult

CHECKPOINT = typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to factorize.")
OUT = typer.Option(help="Checkpoint to write; by default CKPT with `.factorized` in its name.")
FORM = typer.Option(help="spatial: k x 1 and 1 x k; tucker: 1x1, a smaller k x k and 1x1.")
RANK = typer.Option(help="energy: keep --energy; vbmf: keep what is no noise; budget: cost at most --budget.")
ENERGY = typer.Option(help="Fraction of the squared singular values to keep.")
BUDGET = typer.Option(help="Fraction of a layer's multiply-accumulates that its factors may cost.")
ROUND_TO = typer.Option(help="Ranks are multiples of this.")
KEEP = typer.Option(metavar="PATTERN", help="Layer to leave alone; may be given several times.")
SIZE_ONLY = typer.Option("--size-only", help="Factorize whatever gets smaller, even if it gets no faster.")
BACKEND = typer.Option(help="What the layers are timed on.")
PRECISION = typer.Option(help="Precision that they are timed in: fp32, fp16 or int8.")
THREADS = typer.Option(min=1, help="Threads of a CPU backend.")


def factorize(
    checkpoint: Annotated[Path, CHECKPOINT],
    out: Annotated[Path | None, OUT] = None,
    form: Annotated[str, FORM] = "spatial",
    rank: Annotated[str, RANK] = "energy",
    energy: Annotated[float, ENERGY] = 0.9,
    budget: Annotated[float, BUDGET] = 0.5,
    round_to: Annotated[int, ROUND_TO] = 8,
    keep: Annotated[list[str] | None, KEEP] = None,
    size_only: Annotated[bool, SIZE_ONLY] = False,
    backend: Annotated[str, BACKEND] = "onnxruntime",
    precision: Annotated[str, PRECISION] = "fp32",
    threads: Annotated[int, THREADS] = 1,
    data: t.Data = None,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of fine-tuning.")] = 0,
    teacher: Annotated[Path | None, typer.Option(help="Network to imitate while fine-tuning.")] = None,
    teacher_manifest: Annotated[Path | None, typer.Option(help="Manifest of the teacher.")] = None,
    lr: Annotated[float, typer.Option(help="Highest learning rate of fine-tuning.")] = 5e-4,
    batch_size: t.BatchSize = None,
    seed: t.Seed = None,
    resume: t.Resume = None,
    config: t.Config = None,
    set_: t.Set = None,
    as_json: t.AsJson = False,
) -> None:
    """Splits convolutions into two or three smaller ones, of a rank that keeps most of their kernel.

    A layer is split only where the backend runs its factors faster, which is measured; the others are named with
    the reason. With --epochs, the network is fine-tuned as after `jetseg prune`. If no layer was split, it stops there
    with exit code 1.

    Examples:

        jetseg factorize student.safetensors --energy 0.9 --data camvid:data/camvid --epochs 20 --teacher t.safetensors

        jetseg factorize student.safetensors --form tucker --rank vbmf --size-only
    """
    from jetseg.compress.factorize import FactorizeConfig, run
    from jetseg.config import validate_config
    from jetseg.manifest import manifest_path
    from jetseg.workflows.speed_meter import layer_timer

    target = out or checkpoint.with_name(f"{checkpoint.stem}.factorized{checkpoint.suffix}")
    values = {
        "checkpoint": checkpoint,
        "out": run_folder(target) / "factorized.safetensors" if epochs else target,
        "form": form,
        "rank": rank,
        "energy": energy,
        "budget": budget,
        "round_to": round_to,
        "keep": tuple(keep or ()),
        "size_only": size_only,
        "backend": backend,
        "precision": precision,
        "threads": threads,
    }
    settings = validate_config(FactorizeConfig, values)
    training: dict[str, Any] = {
        "data": data,
        "teacher": teacher,
        "teacher_manifest": teacher_manifest,
        "lr": lr,
        "batch_size": batch_size,
        "seed": seed,
        "resume": resume,
        "config": config,
        "set_": set_,
    }
    fine_tuning = FineTuning(epochs, training)
    fine_tuning.check(checkpoint)
    result = run(settings, layer_timer(settings))
    if not any(layer.factorized for layer in result.layers):
        _print(result, target, None, as_json)
        result.checkpoint.unlink()
        manifest_path(result.checkpoint).unlink()
        raise QualityError("Low rank pays for no layer of this network.", "Prune it, or give --size-only.")
    miou = fine_tuning.run(result.checkpoint, run_folder(target), target, epochs) if epochs else None
    _print(result, target, miou, as_json)


def _print(result: FactorizeResult, target: Path, miou: float | None, as_json: bool) -> None:
    if as_json:
        content = {**asdict(result), "checkpoint": str(target), "miou": miou}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    table = Table(
        "layer", "ranks", "error", "ms before", "ms after", "verdict", title=str(target), title_justify="left"
    )
    for layer in result.layers:
        numbers = ["" if value is None else f"{value:.3f}" for value in (layer.error, layer.before_ms, layer.after_ms)]
        table.add_row(layer.name, " ".join(map(str, layer.ranks)), *numbers, layer.reason)
    console = Console()
    console.print(table, markup=False)
    console.print(f"parameters {result.before.parameters:,} -> {result.after.parameters:,}", highlight=False)
    console.print(f"multiply-accumulates {result.before.macs:,} -> {result.after.macs:,}", highlight=False)
    if miou is not None:
        console.print(f"mIoU % on val, fine-tuned: {miou:.2f}", highlight=False)
