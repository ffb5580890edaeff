"""`jetseg search`: finds the best engine within a budget, on one machine or many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines, print_table, right
from jetseg.cli.settings_file import Config, Set, layered
from jetseg.searching.config import SearchConfig

if TYPE_CHECKING:
    from jetseg.searching.findings import Found, SearchResult

_STORAGE = "FILE|URL"


@options.with_settings
def search(
    settings: Annotated[dict[str, Any], options.From(SearchConfig)],
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to compress.")
    ] = None,
    data: options.Data = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results; by default runs/search-NAME.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar=_STORAGE,
            help="Where the trials are kept: a file, by default study.journal in --out, or "
            "postgresql://USER@HOST/NAME; env:NAME and @FILE say where the address stands.",
        ),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(metavar=_STORAGE, help="Help with a search that was begun elsewhere; its settings hold."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the search in its storage; by default the network's.")
    ] = None,
    config: Config = None,
    set_: Set = None,
    as_json: options.AsJson = False,
) -> None:
    """Searches for the best engine within a budget of latency and accuracy, and says why it is the best.

    Each trial is a chain: input size, low rank, pruning to the budget by the latency of layers, distillation,
    fine-tuning, calibration, engine. All are probed, the leading ones are trained for a while, and those that still
    lead for long; every engine is gated, and measured beside that of the network that was given.

    Interrupted at any moment, the same command goes on; once it is done, it only tells the result again. Another
    machine helps by --join. Only the validation split is looked at.

    Examples:

        jetseg search student.safetensors --data camvid:data/camvid --budget-ratio 0.5 --minutes 120

        jetseg search student.safetensors --data camvid:data/camvid --budget-ms 8 --max-drop 1 --trials 48

        jetseg search student.safetensors --data camvid:data/camvid --budget-ms 8 --storage env:STORAGE

        jetseg search --join env:STORAGE                                                  # on each further machine
    """
    from jetseg.errors import QualityError
    from jetseg.searching.search import search

    training = layered(config, {}, set_)
    given = {**settings, **({"training": training} if training else {})}
    result = search(checkpoint, data=data, out=out, storage=storage, join=join, name=name, **given)
    if as_json:
        print_json(result)
    else:
        _print(result)
    if result.best is None:
        raise QualityError(
            "No engine keeps to the budgets.", "Allow more time, more trials, a larger budget or a larger `max_drop`."
        )


def _print(result: SearchResult) -> None:
    counts = result.trials
    print_lines(
        f"{counts.complete} trials complete, {counts.pruned} pruned, {counts.failed} failed"
        + (f", {counts.waiting} not begun" if counts.waiting else "")
    )
    table = Table("trial", *map(right, ("mIoU % on val", "ms", "MB")), "engine", title="Front", title_justify="left")
    given = result.given
    table.add_row("given", *_figures(given["miou"], given["latency_ms"], given["size_bytes"]), "")
    for found in result.front:
        table.add_row(str(found.trial), *_figures(found.miou, found.latency_ms, found.size_bytes), found.engine)
    print_table(table)
    for trial, reason in result.lost.items():
        print_lines(f"trial {trial}: {reason}", style="yellow")
    if result.best is not None:
        _print_reasons(result, result.best)


def _print_reasons(result: SearchResult, best: Found) -> None:
    """Prints the best engine, what its choices brought, and which one comes next."""
    table = Table("choice", "value", *map(right, ("bought, points of mIoU", "over", "importance %")))
    for bought in result.bought:
        share = result.importance.get(bought.choice)
        gain = "-" if bought.miou_gain is None else f"{bought.miou_gain:+.2f}"
        other = "-" if bought.other is None else _value(bought.other)
        table.add_row(bought.choice, _value(bought.value), gain, other, figure(share and 100 * share, 0))
    print_table(table)
    print_lines(f"best: {best.engine}, mIoU {best.miou:.2f} % on val, {best.latency_ms:.2f} ms")
    if result.budget_ms is not None:
        print_lines(f"budget: {result.budget_ms:.2f} ms; the given network takes {result.given['latency_ms']:.2f} ms")
    if result.runner_up is not None:
        second = result.runner_up
        print_lines(
            f"next: trial {second.trial}, {second.miou - best.miou:+.2f} points of mIoU, "
            f"{second.latency_ms - best.latency_ms:+.2f} ms: {second.engine}"
        )
    if result.recipe is not None:
        print_lines(f"recipe: {result.recipe}")


def _figures(miou: float, latency_ms: float, size_bytes: float) -> tuple[str, str, str]:
    return f"{miou:.2f}", f"{latency_ms:.3f}", f"{size_bytes / 1e6:.2f}"


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
