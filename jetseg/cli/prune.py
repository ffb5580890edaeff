"""`jetseg prune`: removes channels or single weights, then fine-tunes what is left."""

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
from jetseg.errors import ConfigError

if TYPE_CHECKING:
    from jetseg.compress.prune import PruneResult

CHECKPOINT = typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to prune.")
OUT = typer.Option(help="Checkpoint to write; by default CKPT with `.pruned` in its name.")
METHOD = typer.Option(help="structured removes channels; unstructured sets single weights to zero.")
CRITERION = typer.Option(help="What is unimportant: magnitude, activation, taylor or random.")
RATIO = typer.Option(help="Fraction of channels, or of weights if unstructured, to remove.")
SCOPE = typer.Option(help="layer: that fraction of every layer; global: rank all layers together.")
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
    criterion: Annotated[str, CRITERION] = "magnitude",
    scope: Annotated[str, SCOPE] = "layer",
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
    depthwise convolutions stay consistent. With --epochs, the pruned network is fine-tuned (single weights
    that were pruned stay zero) and the best epoch is kept; --config and --set give further settings of that, as
    in `jetseg train`. The run lies in a folder beside the result and can be resumed.

    Examples:

        jetseg prune student.safetensors --ratio 0.5 --criterion taylor --data camvid:data/camvid --epochs 30

        jetseg prune student.safetensors --method unstructured --criterion random --ratio 0.5
    """
    from jetseg.compress.prune import PruneConfig, run
    from jetseg.manifest import validate_config

    target = out or checkpoint.with_name(f"{checkpoint.stem}.pruned{checkpoint.suffix}")
    if epochs and data is None:
        raise ConfigError("Fine-tuning has nothing to learn from.", "Give --data SPEC, or --epochs 0.")
    if not epochs and teacher is not None:
        raise ConfigError("A teacher is of use only while fine-tuning.", "Give --epochs N as well.")
    values = {
        "checkpoint": checkpoint,
        "out": _run_folder(target) / "pruned.safetensors" if epochs else target,
        "method": method,
        "criterion": criterion,
        "ratio": ratio,
        "scope": scope,
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
    if not epochs:
        _print(run(settings), target, None, as_json)
        return
    training: dict[str, Any] = {
        "data": data,
        "split": split,
        "epochs": epochs,
        "teacher": teacher,
        "teacher_manifest": teacher_manifest,
        "lr": lr,
        "batch_size": batch_size,
        "seed": seed,
        "resume": resume,
        "out": _run_folder(target),
        "config": config,
        "set_": set_,
        "keep_zeros": method == "unstructured",
        "model_option": None,
    }
    t.make_config({**training, "init": checkpoint})  # mistakes show up before the work starts
    result = run(settings)
    miou = _fine_tune(training, result.checkpoint, target)
    _print(result, target, miou, as_json)


def _run_folder(target: Path) -> Path:
    return target.with_name(f"{target.stem}-finetune")


def _fine_tune(training: dict[str, Any], pruned: Path, target: Path) -> float:
    """Fine-tunes a pruned checkpoint, keeps the best epoch as `target` and returns its mIoU in percent."""
    from jetseg.manifest import manifest_path
    from jetseg.storage import sha256_file, write_bytes
    from jetseg.train.loop import run

    # the content is in the name, so that a run cannot be resumed with another network
    start = pruned.with_name(f"pruned-{sha256_file(pruned)[:8]}.safetensors")
    manifest_path(pruned).replace(manifest_path(start))
    pruned.replace(start)
    result = run(t.make_config({**training, "init": start}))
    write_bytes(target, result.best.read_bytes())
    write_bytes(manifest_path(target), manifest_path(result.best).read_bytes())
    return result.miou


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
    for layer in result.layers:
        table.add_row(layer.name, str(layer.before), str(layer.after), layer.note)
    table.add_section()
    table.add_row("parameters", f"{result.before.parameters:,}", f"{result.after.parameters:,}")
    table.add_row("multiply-accumulates", _count(result.before.macs), _count(result.after.macs))
    if miou is not None:
        table.add_row("mIoU % on val, fine-tuned", "", f"{miou:.2f}")
    Console().print(table, markup=False)


def _count(macs: int | None) -> str:
    return "-" if macs is None else f"{macs:,}"
