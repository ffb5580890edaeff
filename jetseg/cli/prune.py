"""`jetseg prune`: removes channels or single weights, then fine-tunes what is left."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jetseg.cli import training as t
from jetseg.cli.fine_tuning import FineTuning, run_folder
from jetseg.errors import ConfigError

if TYPE_CHECKING:
    from jetseg.compress.prune import PruneConfig, PruneResult
    from jetseg.compress.speed import SpeedMeter, SpeedReport

CHECKPOINT = typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to prune.")
OUT = typer.Option(help="Checkpoint to write; by default CKPT with `.pruned` in its name.")
METHOD = typer.Option(
    help="structured removes channels; unstructured sets single weights to zero; 2:4 two of every four."
)
CRITERION = typer.Option(
    help="What is unimportant: magnitude, bn-scale, activation, taylor or random. By default taylor with --speedup "
    "and --data, magnitude elsewhere.",
    show_default=False,
)
RATIO = typer.Option(help="Fraction of channels, or of weights if unstructured, to remove.")
SCOPE = typer.Option(
    help="layer: that fraction of every layer; global: rank all layers together; isomorphic: those wired alike; "
    "latency: least importance per millisecond, the default with a speed to reach.",
    show_default=False,
)
STEPS = typer.Option(min=1, help="Reach the ratio in so many steps, each scored and fine-tuned anew.")
THRESHOLD = typer.Option(help="Unstructured: zero the weights below this magnitude, in place of --ratio.")
SPEEDUP = typer.Option(help="Become so many times as fast, measured, in place of --ratio.")
TARGET_MS = typer.Option("--target-latency-ms", help="Reach this latency, measured, in place of --ratio.")
BACKEND = typer.Option(help="What the speed is measured on.")
PRECISION = typer.Option(help="Precision that the speed is measured in: fp32, fp16 or int8.")
THREADS = typer.Option(min=1, help="Threads of a CPU backend while measuring.")
ROUND_TO = typer.Option(help="Pruned layers keep a multiple of this many channels.")
MAX_RATIO = typer.Option(help="No layer loses more than this fraction of its channels.")
NORM = typer.Option(help="Norm of the magnitude criterion: 1 or 2.")
KEEP = typer.Option(metavar="PATTERN", help="Layer to leave alone, as in 'stem*'; may be given several times.")
BATCHES = typer.Option(help="Batches of 4 frames that activation and taylor look at.")
EPOCHS = typer.Option(min=0, help="Epochs of fine-tuning; 0 writes the network as it was pruned.")
TEACHER = typer.Option(help="Network (checkpoint or ONNX) to imitate while fine-tuning.")
TEACHER_MANIFEST = typer.Option(help="Manifest of the teacher, if it is not beside it.")
LR = typer.Option(help="Highest learning rate of fine-tuning.")


def prune(
    checkpoint: Annotated[Path, CHECKPOINT],
    out: Annotated[Path | None, OUT] = None,
    ratio: Annotated[float, RATIO] = 0.5,
    method: Annotated[str, METHOD] = "structured",
    criterion: Annotated[str | None, CRITERION] = None,
    scope: Annotated[str | None, SCOPE] = None,
    steps: Annotated[int, STEPS] = 1,
    threshold: Annotated[float | None, THRESHOLD] = None,
    speedup: Annotated[float | None, SPEEDUP] = None,
    target_latency_ms: Annotated[float | None, TARGET_MS] = None,
    backend: Annotated[str, BACKEND] = "onnxruntime",
    precision: Annotated[str, PRECISION] = "fp32",
    threads: Annotated[int, THREADS] = 1,
    round_to: Annotated[int, ROUND_TO] = 8,
    max_ratio: Annotated[float, MAX_RATIO] = 0.9,
    norm: Annotated[int, NORM] = 2,
    keep: Annotated[list[str] | None, KEEP] = None,
    data: t.Data = None,
    split: Annotated[str, typer.Option(help="Split to score and to fine-tune on.")] = "train",
    batches: Annotated[int, BATCHES] = 16,
    seed: Annotated[int, typer.Option(help="Fixes every random choice.")] = 0,
    epochs: Annotated[int, EPOCHS] = 0,
    teacher: Annotated[Path | None, TEACHER] = None,
    teacher_manifest: Annotated[Path | None, TEACHER_MANIFEST] = None,
    lr: Annotated[float, LR] = 5e-4,
    batch_size: t.BatchSize = None,
    resume: t.Resume = None,
    config: t.Config = None,
    set_: t.Set = None,
    as_json: t.AsJson = False,
) -> None:
    """Prunes a network: whole channels, which makes it faster anywhere, or single weights.

    Structured pruning follows the dependencies between layers, so that additions, concatenations and
    depthwise convolutions stay consistent. With --speedup, layers are timed on the backend, and the network is
    measured until it is as fast as was asked for; the times are kept for the next call. With --epochs, the
    pruned network is fine-tuned (single weights that were pruned stay zero) and the best epoch is kept;
    --config and --set give further settings of that, as in `jetseg train`. The run lies in a folder beside the
    result and can be resumed.

    Examples:

        jetseg prune student.safetensors --ratio 0.5 --criterion taylor --data camvid:data/camvid --epochs 30

        jetseg prune student.safetensors --speedup 2.0 --precision int8 --data camvid:data/camvid --epochs 30

        jetseg prune student.safetensors --method 2:4 --data camvid:data/camvid --epochs 10

        jetseg prune student.safetensors --method unstructured --criterion random --ratio 0.5
    """
    from jetseg.compress.prune import PruneConfig
    from jetseg.config import validate_config
    from jetseg.workflows.speed_meter import speed_meter

    target = out or checkpoint.with_name(f"{checkpoint.stem}.pruned{checkpoint.suffix}")
    values = {
        "checkpoint": checkpoint,
        "out": run_folder(target) / "pruned.safetensors" if epochs else target,
        "method": method,
        "criterion": criterion,
        "ratio": ratio,
        "scope": scope,
        "threshold": threshold,
        "speedup": speedup,
        "target_latency_ms": target_latency_ms,
        "backend": backend,
        "precision": precision,
        "threads": threads,
        "round_to": round_to,
        "max_ratio": max_ratio,
        "norm": norm,
        "data": data,
        "split": split,
        "batches": batches,
        "seed": seed,
        "keep": tuple(keep or ()),
    }
    settings = validate_config(PruneConfig, values)
    training: dict[str, Any] = {
        "data": data,
        "split": split,
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
    if steps > 1 and (settings.wants_speed or method != "structured" or 0 < epochs < steps):
        raise ConfigError(
            "Several steps need --method structured with a --ratio, and an epoch for each step or none at all.",
            "Leave --steps out, or correct these.",
        )
    result, miou = _prune_in_steps(settings, speed_meter(settings), fine_tuning, steps, target)
    _print(result, target, miou, as_json)


def _prune_in_steps(
    settings: PruneConfig, meter: SpeedMeter | None, fine_tuning: FineTuning, steps: int, target: Path
) -> tuple[PruneResult, float | None]:
    """Prunes and trains in turn; each step removes the same fraction of what is left."""
    from jetseg.compress.prune import run

    source, folder = settings.checkpoint, run_folder(target)
    first: PruneResult | None = None
    miou = None
    for step in range(1, steps + 1):
        end = target if step == steps else folder / f"step{step}.safetensors"
        pruned = folder / f"pruned{step}.safetensors" if fine_tuning.epochs else end
        share = {
            "ratio": 1 - (1 - settings.ratio) ** (1 / steps),
            "max_ratio": 1 - (1 - max(settings.max_ratio, settings.ratio)) ** (1 / steps),
        }
        changes = {"checkpoint": source, "out": pruned, **(share if steps > 1 else {})}
        result = run(settings.model_copy(update=changes), meter)
        first = first or result
        if fine_tuning.epochs:
            epochs = fine_tuning.epochs * step // steps - fine_tuning.epochs * (step - 1) // steps
            miou = fine_tuning.run(pruned, folder / f"step{step}" if steps > 1 else folder, end, epochs)
        source = end
    if first is None or steps == 1:
        return result, miou
    whole = {layer.name: layer.before for layer in first.layers}
    layers = tuple(replace(layer, before=whole[layer.name]) for layer in result.layers)
    return replace(result, before=first.before, layers=layers), miou


def _print(result: PruneResult, target: Path, miou: float | None, as_json: bool) -> None:
    if as_json:
        content = {**asdict(result), "checkpoint": str(target), "miou": miou}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    table = Table(title=str(target), title_justify="left")
    table.add_column("layer")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_column("note")
    layers_ms = result.speed.layers_ms if result.speed else {}
    if layers_ms:
        table.add_column("ms before", justify="right")
        table.add_column("ms after", justify="right")
    for layer in result.layers:
        times = [f"{time_ms:.3f}" for time_ms in layers_ms.get(layer.name, ())]
        table.add_row(layer.name, str(layer.before), str(layer.after), layer.note, *times)
    table.add_section()
    table.add_row("parameters", f"{result.before.parameters:,}", f"{result.after.parameters:,}")
    table.add_row("multiply-accumulates", _count(result.before.macs), _count(result.after.macs))
    if miou is not None:
        table.add_row("mIoU % on val, fine-tuned", "", f"{miou:.2f}")
    if result.gzip_bytes is not None:
        table.add_row("bytes of the checkpoint after gzip", *(f"{size:,}" for size in result.gzip_bytes))
    console = Console()
    console.print(table, markup=False)
    if result.speed is not None:
        _print_speed(console, result.speed)


def _print_speed(console: Console, speed: SpeedReport) -> None:
    for trial in speed.trials:
        table = f", by the table {trial.predicted:.2f}" if trial.predicted else ""
        console.print(f"removed {100 * trial.amount:.1f} %{table}: measured {trial.measured:.2f} times as fast")
    console.print(
        f"{speed.parent_ms:.3f} ms before, {speed.pruned_ms:.3f} ms after, in turns: "
        f"{speed.speedup:.2f} times as fast, {speed.wanted:g} wanted"
    )


def _count(macs: int | None) -> str:
    return "-" if macs is None else f"{macs:,}"
