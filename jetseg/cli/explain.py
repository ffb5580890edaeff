"""`jetseg explain`: what a smaller network no longer sees, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.explanation.config import ExplainConfig

PARENT = typer.Argument(metavar="PARENT", help="Checkpoint, ONNX file or engine that the others were made from.")
CHILDREN = typer.Argument(metavar="CHILD [CHILD...]", help="The smaller networks.")
OUT = typer.Option(help="The page to write: one HTML file that needs nothing else.")


@options.with_settings
def explain(
    parent: Annotated[Path, PARENT],
    children: Annotated[list[Path], CHILDREN],
    data: options.NeededData,
    settings: Annotated[dict[str, Any], options.From(ExplainConfig)],
    split: Annotated[str, typer.Option(help="Split of the dataset, as in train, val or test.")] = "val",
    out: Annotated[Path | None, OUT] = None,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Tells what smaller networks no longer see, where, in which frames and why, and what brings it back.

    Losses are told only where chance does not explain them, with all comparisons taken together. The summary's first
    sentence is the gravest loss, with its cause where one was found.

    Examples:

        jetseg explain student.onnx student.int8.onnx --data camvid:data/camvid --split test --out lost.html

        jetseg explain dense.safetensors pruned.safetensors --data camvid:data/camvid --json

        jetseg explain student.onnx student.int8.onnx --data camvid:data/camvid --repair

        jetseg explain joint.onnx joint.int8.onnx --data synthetic --task drivable

        jetseg explain dense.safetensors pruned.safetensors --data camvid:data/camvid --at 12:240,150 --out lost.html
    """
    from jetseg.explanation.record import as_record
    from jetseg.workflows.explanation import explain as run

    result = run(parent, children, data=data, split=split, out=out, manifest=manifest, **settings)
    record = as_record(result)
    if as_json:
        print_json(record)
        return
    print_lines(*record["summary"], *(child["doubts"] for child in record["children"] if child["doubts"]))
    for finding in record["findings"]:
        if finding["repair"]:
            print_lines("", finding["repair"]["words"], *filter(None, [finding["repair"]["command"]]))
    if out is not None:
        print_lines(f"Wrote {out}")
