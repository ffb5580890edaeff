"""`jetseg factorize`: splits convolutions into chains of smaller ones where that pays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines, print_table
from jetseg.cli.settings_file import Config, Set, further
from jetseg.compress.config import FactorizeConfig, FineTuneConfig
from jetseg.errors import QualityError

if TYPE_CHECKING:
    from jetseg.compress.factorize import FactorizeResult


@options.with_settings
def factorize(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to factorize.")],
    settings: Annotated[dict[str, Any], options.From(FactorizeConfig)],
    tuning: Annotated[dict[str, Any], options.From(FineTuneConfig)],
    out: Annotated[
        Path | None, typer.Option(help="Checkpoint to write; by default CKPT with `.factorized` in its name.")
    ] = None,
    data: options.Data = None,
    config: Config = None,
    set_: Set = None,
    as_json: options.AsJson = False,
) -> None:
    """Splits convolutions into two or three smaller ones, of a rank that keeps most of their kernel.

    A layer is split only where the backend runs its factors faster, which is measured; the others are named with
    the reason. With --epochs, the network is fine-tuned as after `jetseg prune`. If no layer was split, it stops there
    with exit code 1.

    Examples:

        jetseg factorize student.safetensors --energy 0.9 --data camvid:data/camvid --epochs 20 --teacher t.safetensors

        jetseg factorize student.safetensors --form tucker --rank vbmf --size-only
    """
    from jetseg.workflows.pruning import factorize

    given = {**settings, **further(config, tuning, set_)}
    result = factorize(checkpoint, out=out, data=data, **given)
    if as_json:
        print_json(result)
    else:
        _print(result)
    if not result.pays:
        chosen = FactorizeConfig.model_validate(settings)
        less = {"energy": "a lower `energy`", "budget": "a lower `budget`", "vbmf": "another `rank`"}[chosen.rank]
        advice = f"try {less}" if chosen.size_only else "set `size_only`"
        raise QualityError("Low rank pays for no layer of this network.", f"Prune it, or {advice}.")


def _print(result: FactorizeResult) -> None:
    table = Table("layer", "ranks", "error", "ms before", "ms after", "verdict")
    table.title, table.title_justify = str(result.checkpoint), "left"
    for layer in result.layers:
        numbers = [figure(value, 3, absent="") for value in (layer.error, layer.before_ms, layer.after_ms)]
        table.add_row(layer.name, " ".join(map(str, layer.ranks)), *numbers, layer.reason)
    print_table(table)
    print_lines(
        f"parameters {result.before.parameters:,} -> {result.after.parameters:,}",
        f"multiply-accumulates {result.before.macs:,} -> {result.after.macs:,}",
    )
    if result.miou is not None:
        print_lines(f"mIoU % on val, fine-tuned: {result.miou:.2f}")
