"""`jetseg report`: one page about what compression cost and gained."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli.artifacts import by_name
from jetseg.cli.eval import DATA, FRAMES, SPLIT

ARTIFACTS = typer.Argument(
    metavar="A [B...]",
    callback=by_name,
    help="Checkpoints, ONNX files or engines, in the order they were made, or the folder of `jetseg compress`.",
)
OUT = typer.Option(help="The page to write: one HTML file that needs nothing else.")


def report(
    artifacts: Annotated[list[Path], ARTIFACTS],
    data: Annotated[str, DATA],
    split: Annotated[str, SPLIT] = "val",
    out: Annotated[Path, OUT] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Headline of the page.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest for files that have none.")] = None,
    frames: Annotated[int | None, FRAMES] = None,
    examples: Annotated[int, typer.Option(min=0, help="Frames to show.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads that each network may use.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="How often each network has its turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of one turn, in seconds.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measures networks on the same frames and writes accuracy, speed and pictures as one HTML page.

    The first network is the reference. A checkpoint is measured as it would be deployed, exported to ONNX. The
    page shows where consecutive networks disagree, and which classes the last one confuses more often than the
    first.

    Examples:

        jetseg report teacher.onnx student.onnx student.int8.onnx --data camvid:data/camvid --split test

        jetseg report runs/road --data camvid:data/camvid --split test --out road.html

        jetseg report a.onnx b.onnx --data synthetic:32 --split test --out runs/report.html --json
    """
    from jetseg.cli.entries import open_entries
    from jetseg.config import validate_config
    from jetseg.data.dataset import open_split
    from jetseg.report.build import ReportConfig, run

    values: dict[str, Any] = {"out": out, "frames": frames, "examples": examples, "threads": threads}
    values |= {"rounds": rounds, "seconds": seconds} | ({"title": title} if title else {})
    config = validate_config(ReportConfig, values)
    dataset = open_split(data, split)
    with open_entries(artifacts, manifest, threads, deployed=True) as entries:
        result = run(config, entries, dataset)
    if as_json:
        sys.stdout.write(json.dumps(asdict(result), indent=2, default=str) + "\n")
        return
    from rich.console import Console

    from jetseg.report.table import headline_table

    console = Console()
    console.print(headline_table(result.rows))
    console.print(f"Wrote {result.path}", markup=False, highlight=False, soft_wrap=True)
