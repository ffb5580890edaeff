"""`jetseg latency`: predicts how fast a network is on a device that need not be at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.manifest import EnginePrecision


def latency(
    network: Annotated[Path, typer.Argument(help="Float ONNX file, or an engine of the table's backend.")],
    table: Annotated[Path | None, typer.Option(metavar="TABLE", help="Table of `jetseg measure-layers`.")] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device that is meant; without a table, its published peaks tell."),
    ] = None,
    precision: Annotated[
        EnginePrecision | None, typer.Option(help="Precision of the engine; by default the table's, and fp16 without.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Predicts the latency of a network, with the interval that holds nine of ten.

    From a table it is learned of the operators that were measured on the device. Without one it follows from what
    the maker publishes of the target, and is rough.

    Examples:

        jetseg latency student.onnx --table orin-nano.int8.json --target orin-nano-8gb

        jetseg latency student.onnx --target agx-orin-64gb --precision fp16 --json
    """
    from jetseg.workflows.latency import predict_latency

    found = predict_latency(network, table=table, target=target, precision=precision)
    if as_json:
        print_json(found)
        return
    print_lines(
        f"{found.latency_ms:.2f} ms, {found.coverage} of 100 between {found.low:.2f} and {found.high:.2f} ms: "
        f"predicted from a {found.source}, not measured; {found.device}"
    )
    if found.note:
        print_lines(found.note, style="yellow")
