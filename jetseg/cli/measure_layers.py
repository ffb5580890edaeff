"""`jetseg measure-layers`: a table of latencies, which predicts those of other networks on this device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.bars import console
from jetseg.cli.output import print_lines
from jetseg.latency.config import MeasureLayersConfig


@options.with_settings
def measure_layers(
    settings: Annotated[dict[str, Any], options.From(MeasureLayersConfig)],
    out: Annotated[Path, typer.Option(metavar="TABLE", help="Table (.json) to write, or to go on with.")],
    networks: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[NETWORK...]", help="Float ONNX files, or kits of `jetseg pack`, to measure as well."),
    ] = None,
    key: options.Key = None,
) -> None:
    """Measures on this device how long each operator of some networks takes, fused as the backend fuses them.

    The networks are drawn at random, the same on every machine, and so the table needs nothing but jetseg. It tells
    device, power mode, backend, version and precision, and predicts for these only. A kit carries a network of yours
    there, whose operators are measured as well. Run it on the vehicle while nothing else does, bring the file to the
    workstation, and give it to `jetseg latency` and `jetseg prune` there. What was measured before an interruption is
    kept.

    Examples:

        jetseg measure-layers --backend tensorrt --precision int8 --out orin-nano.int8.json

        jetseg measure-layers student.kit.zip --backend tensorrt --precision int8 --out orin-nano.int8.json

        jetseg measure-layers student.onnx --sweep 100 --out here.json
    """
    from jetseg.workflows.latency import measure_layers

    table = measure_layers(networks or (), out=out, key=key, **settings)
    print_lines(f"Wrote {len(table.units)} operators of {len(table.networks)} networks into {out}", console=console)
