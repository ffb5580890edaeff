"""`jetseg report`: one page about what compression cost and gained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines, print_table
from jetseg.report.config import ReportConfig

ARTIFACTS = typer.Argument(
    metavar="A [B...]",
    help="Checkpoints, ONNX files or engines, in the order they were made, or the folder of `jetseg compress`.",
)
OUT = typer.Option(help="The page to write: one HTML file that needs nothing else.")


@options.with_settings
def report(
    artifacts: Annotated[list[Path], ARTIFACTS],
    data: options.NeededData,
    settings: Annotated[dict[str, Any], options.From(ReportConfig)],
    split: Annotated[str, typer.Option(help="Split of the dataset, as in train, val or test.")] = "val",
    out: Annotated[Path, OUT] = Path("report.html"),
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
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
    from jetseg.workflows.comparing import write_report

    result = write_report(artifacts, data=data, split=split, out=out, manifest=manifest, **settings)
    if as_json:
        print_json(result)
        return
    from jetseg.report.table import headline_table

    print_table(headline_table(result.rows))
    print_lines(f"Wrote {result.path}")
