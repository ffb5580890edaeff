"""`jetseg bench`: speed, size and memory of networks, measured against each other."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines, print_table
from jetseg.evaluation.config import BenchConfig

if TYPE_CHECKING:
    from jetseg.workflows.comparing import SpeedComparison

ARTIFACTS = typer.Argument(
    metavar="A [B...]", help="Checkpoints, ONNX files or engines; the first one is the reference."
)


@options.with_settings
def bench(
    artifacts: Annotated[list[Path], ARTIFACTS],
    settings: Annotated[dict[str, Any], options.From(BenchConfig)],
    limits: options.Limits,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Compares latency, frames per second, size and memory of networks by alternated runs.

    Latency is that of the network alone: resizing and normalizing the frame and the argmax on the host are
    not in it. Peak memory is that of a process that does nothing but open and run the network.

    Examples:

        jetseg bench student.onnx student.int8.onnx

        jetseg bench student.safetensors student.onnx --threads 4 --rounds 9 --json
    """
    from jetseg.workflows.comparing import compare_speed

    options.set_limits(limits)
    result = compare_speed(artifacts, manifest=manifest, **settings)
    if as_json:
        # without what was not measured
        rows = [{key: value for key, value in asdict(row).items() if value is not None} for row in result.rows]
        print_json({**result.conditions, "networks": rows})
    else:
        _print(result)


def _print(result: SpeedComparison) -> None:
    from jetseg.report.table import headline_table

    conditions = result.conditions
    print_table(headline_table(result.rows))
    turns = f"{conditions['rounds']} rounds of {conditions['seconds_per_turn']} s"
    print_lines(
        f"network alone, {conditions['threads']} thread(s), {turns}, alternated; {conditions['device']}", style="dim"
    )
