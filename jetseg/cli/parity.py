"""`jetseg parity`: what each step from checkpoint to engine changed, and the first step that changed too much."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines, print_table, right, versions
from jetseg.evaluation.config import ParityConfig

if TYPE_CHECKING:
    from jetseg.evaluation.parity import RungParity
    from jetseg.workflows.comparing import ParityResult

ARTIFACTS = typer.Argument(
    metavar="A B [C...]", help="Checkpoints, ONNX files or engines of one network, in the order they were made."
)


@options.with_settings
def parity(
    artifacts: Annotated[list[Path], ARTIFACTS],
    data: options.NeededData,
    settings: Annotated[dict[str, Any], options.From(ParityConfig)],
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Follows a network from checkpoint to engine and names the first artifact that computes something else.

    Each artifact gets the same frames and is compared with the one before it and with the first: error of the
    logits, pixels with the same class, and mIoU where the frames have labels. The exit code is 1 if one of them
    breaks a bound.

    Examples:

        jetseg parity best.safetensors net.onnx net.int8.onnx --data camvid:data/camvid --frames 50

        jetseg parity a.onnx b.onnx --data folder:frames --split all --min-agreement 98 --json
    """
    from jetseg.errors import QualityError
    from jetseg.workflows.comparing import follow_parity

    result = follow_parity(artifacts, data=data, manifest=manifest, **settings)
    holds, verdict = result.ladder.first_failing is None, result.ladder.verdict
    if as_json:
        print_json({"holds": holds, "verdict": verdict, **result.conditions, **_content(result)})
    else:
        _print(result)
    if not holds:
        raise QualityError(verdict, "Look at the step that made it; what comes after it inherits the error.")
    if not as_json:
        print_lines(verdict)


def _content(result: ParityResult) -> dict[str, Any]:
    """What was measured, for JSON, which has no infinity: an infinite SQNR is null beside an error of 0."""
    ladder = result.ladder
    rungs = [
        {**_measured(rung), "path": str(source.path), "backend": source.backend, "precision": source.precision}
        for source, rung in zip(result.sources, ladder.rungs, strict=True)
    ]
    failing = None
    if ladder.first_failing is not None:
        failing = {"name": ladder.rungs[ladder.first_failing].name, "breaches": ladder.breaches}
    frames = {"frames": ladder.frames, "labelled_frames": ladder.labelled_frames}
    return {**frames, "first_failing": failing, "broken": failing, "rungs": rungs}  # "broken" goes with 0.3


def _measured(rung: RungParity) -> dict[str, Any]:
    figures = asdict(rung)
    if rung.sqnr_db is not None and math.isinf(rung.sqnr_db):
        figures["sqnr_db"] = None
    return figures


def _print(result: ParityResult) -> None:
    from jetseg.report.table import signed

    ladder, conditions = result.ladder, result.conditions
    headings = map(right, ("max\nerror", "SQNR\ndB", "same\n%", "first\n%", "worst\n%", "mIoU\n%", "change"))
    table = Table(Column(overflow="fold"), *headings, box=SIMPLE_HEAD, header_style="bold")
    for position, rung in enumerate(ladder.rungs):
        error = "" if rung.max_abs_error is None else f"{rung.max_abs_error:.3g}"
        agreements = (rung.agreement, rung.agreement_first, rung.worst_agreement)
        cells = [error, figure(rung.sqnr_db, 1, ""), *(figure(value, 3, "") for value in agreements)]
        cells += [figure(rung.miou, absent=""), signed(rung.miou_change)]
        table.add_row(Text(rung.name), *cells, style="red" if position == ladder.first_failing else None)
    print_table(table)
    runs_in = ", ".join(
        f"{rung.name} {source.precision} in {source.backend}"
        for rung, source in zip(ladder.rungs, result.sources, strict=True)
    )
    labels = "" if ladder.labelled_frames else ", no labels"
    print_lines(
        "same: pixels with the class that the row above gives; first: that the first row gives; worst: same, in the "
        "worst frame",
        f"{ladder.frames} frames of {conditions['data']}, split {conditions['split']}{labels}",
        f"{runs_in}; {conditions['device']}; {versions(conditions['toolchain'])}",
        style="dim",
    )
