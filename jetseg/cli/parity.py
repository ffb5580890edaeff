"""`jetseg parity`: what each step from checkpoint to engine changed, and the first step that changed too much."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli.artifacts import by_name
from jetseg.cli.eval import DATA, SPLIT

if TYPE_CHECKING:
    from jetseg.evaluate.parity import LadderParity, RungParity
    from jetseg.report.rows import Entry

ARTIFACTS = typer.Argument(
    callback=by_name,
    metavar="A B [C...]",
    help="Checkpoints, ONNX files or engines of one network, in the order they were made.",
)
FRAMES = typer.Option(min=1, help="Compare only this many frames, spread evenly over the split; all by default.")
MIN_AGREEMENT = typer.Option(
    min=0, max=100, help="Least percent of pixels with the same class as in the artifact before."
)
MAX_DROP = typer.Option(min=0, help="Most points of mIoU that may be lost against the first artifact.")


def parity(
    artifacts: Annotated[list[Path], ARTIFACTS],
    data: Annotated[str, DATA],
    split: Annotated[str, SPLIT] = "val",
    frames: Annotated[int | None, FRAMES] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest for the files that have none.")] = None,
    min_agreement: Annotated[float, MIN_AGREEMENT] = 99.0,
    max_drop: Annotated[float, MAX_DROP] = 0.5,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that each network may use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Follows a network from checkpoint to engine and names the first artifact that computes something else.

    Each artifact gets the same frames and is compared with the one before it and with the first: error of the
    logits, pixels with the same class, and mIoU where the frames have labels. The exit code is 1 if one of them
    breaks a bound.

    Examples:

        jetseg parity best.safetensors net.onnx net.int8.onnx --data camvid:data/camvid --frames 50

        jetseg parity a.onnx b.onnx --data folder:frames --split all --min-agreement 98 --json
    """
    from jetseg.cli.entries import open_entries
    from jetseg.data.dataset import open_split
    from jetseg.errors import ConfigError, QualityError
    from jetseg.evaluate.parity import Bounds, Rung, measure_parity
    from jetseg.provenance import device_name, toolchain

    if len(artifacts) < 2:
        raise ConfigError(f"Only {artifacts[0]} was given.", "Give at least two artifacts of one network to compare.")
    dataset = open_split(data, split)
    bounds = Bounds(min_agreement, max_drop)
    with open_entries(artifacts, manifest, threads) as entries:
        rungs = [Rung(entry.name, entry.runner.manifest, entry.runner.infer) for entry in entries]
        result = measure_parity(rungs, dataset, bounds, frames=frames)
    verdict = _verdict(result)
    conditions = {"data": data, "split": split, **asdict(bounds), "device": device_name(), "toolchain": toolchain()}
    if as_json:
        content = {"holds": result.broken is None, "verdict": verdict, **conditions, **_content(result, entries)}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        _print(result, entries, conditions)
    if result.broken is not None:
        raise QualityError(verdict, "Look at the step that made it; what comes after it inherits the error.")
    if not as_json:
        sys.stdout.write(verdict + "\n")


def _verdict(result: LadderParity) -> str:
    """Says in one sentence whether all rungs hold, or what the first one breaks and which class lost most."""
    if result.broken is None:
        return "All rungs hold."
    first, before, rung = result.rungs[0], result.rungs[result.broken - 1], result.rungs[result.broken]
    reasons = []
    for breach in result.breaches:
        name = breach.worst_class
        if breach.bound == "min_agreement":
            kept = _digits((rung.per_class_agreement or {})[name])
            reasons.append(
                f"{_digits(breach.value, 3)} % agreement with {before.name} (at least {breach.limit:g}; {name} keeps "
                f"only {kept} % of its pixels; the worst frame is {rung.worst_frame})"
            )
        else:
            old, new = (_digits((scored.per_class_iou or {})[name]) for scored in (first, rung))
            reasons.append(
                f"{_digits(breach.value)} points of mIoU lost against {first.name} (at most {breach.limit:g}; IoU of "
                f"{name} went from {old or 'none'} to {new})"
            )
    return f"{rung.name} breaks: {', '.join(reasons)}."


def _content(result: LadderParity, entries: Sequence[Entry]) -> dict[str, Any]:
    """What was measured, for JSON, which has no infinity: an infinite SQNR is null beside an error of 0."""
    rungs = [
        {
            **_measured(rung),
            "path": str(entry.path),
            "backend": entry.backend,
            "precision": entry.runner.manifest.precision,
        }
        for entry, rung in zip(entries, result.rungs, strict=True)
    ]
    breaches = [asdict(breach) for breach in result.breaches]
    broken = None if result.broken is None else {"name": result.rungs[result.broken].name, "breaches": breaches}
    return {"frames": result.frames, "labelled_frames": result.labelled_frames, "broken": broken, "rungs": rungs}


def _measured(rung: RungParity) -> dict[str, Any]:
    figures = asdict(rung)
    if rung.sqnr_db is not None and math.isinf(rung.sqnr_db):
        figures["sqnr_db"] = None
    return figures


def _print(result: LadderParity, entries: Sequence[Entry], conditions: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jetseg.report.table import signed

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("", overflow="fold")
    for heading in ("max\nerror", "SQNR\ndB", "same\n%", "first\n%", "worst\n%", "mIoU\n%", "change"):
        table.add_column(heading, justify="right")
    for position, rung in enumerate(result.rungs):
        error = "" if rung.max_abs_error is None else f"{rung.max_abs_error:.3g}"
        agreements = (rung.agreement, rung.agreement_first, rung.worst_agreement)
        cells = [error, _digits(rung.sqnr_db, 1), *(_digits(value, 3) for value in agreements)]
        cells += [_digits(rung.miou), signed(rung.miou_change)]
        table.add_row(Text(rung.name), *cells, style="red" if position == result.broken else None)
    console = Console()
    console.print(table)
    toolchain = ", ".join(f"{name} {version}" for name, version in conditions["toolchain"].items())
    runs_in = ", ".join(f"{entry.name} {entry.runner.manifest.precision} in {entry.backend}" for entry in entries)
    labels = "" if result.labelled_frames else ", no labels"
    for line in (
        "same: pixels with the class that the row above gives; first: that the first row gives; worst: same, in the "
        "worst frame",
        f"{result.frames} frames of {conditions['data']}, split {conditions['split']}{labels}",
        f"{runs_in}; {conditions['device']}; {toolchain}",
    ):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _digits(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"
