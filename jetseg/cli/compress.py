"""`jetseg compress`: a whole recipe, stage by stage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines, print_table, right

if TYPE_CHECKING:
    from jetseg.workflows.stage_results import StageResult

RECIPE = typer.Option(metavar="NAME|FILE", help="A recipe that comes with jetseg (see --list), or a YAML file.")
OUT = typer.Option(metavar="DIR", help="Folder of the results; by default runs/ and the recipe's name.")
SET = typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Change a setting of a stage; may be repeated.")
LIST = typer.Option("--list", help="List the recipes that come with jetseg, and stop.")


@options.with_settings
def compress(
    recipe: Annotated[str | None, RECIPE] = None,
    data: options.Data = None,
    out: Annotated[Path | None, OUT] = None,
    set_: Annotated[list[str] | None, SET] = None,
    listing: Annotated[bool, LIST] = False,
    as_json: options.AsJson = False,
) -> None:
    """Runs a recipe: train, prune, fine-tune, export, calibrate, build, in the order that its file gives.

    Every stage keeps what it made under a hash of all that went in. Run the same command again and finished
    stages are kept, an interrupted training goes on, and after a change only the stages behind it run anew.

    Examples:

        jetseg compress --list

        jetseg compress --recipe demo --data synthetic

        jetseg compress --recipe road --data camvid:data/camvid --set student.epochs=20
    """
    from jetseg.errors import ConfigError
    from jetseg.recipes.recipe import load_recipe, recipe_names
    from jetseg.recipes.run import run_recipe

    if listing:
        for name in recipe_names():
            sys.stdout.write(f"{name:<16} {load_recipe(name).description}\n")
        return
    if recipe is None or data is None:
        raise ConfigError("A recipe and data are needed.", "Give `recipe` and `data`; --list shows the recipes.")
    folder = out or Path("runs") / Path(recipe).stem
    results = run_recipe(load_recipe(recipe, set_ or ()), data, folder)
    rows = [_row(result) for result in results]
    if as_json:
        print_json(rows)
    else:
        _print(rows)
        print_lines(f"All of them on one page: jetseg report {folder} --data {data}")


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("stage", *map(right, ("time", "size MB", "mIoU %", "Dice %")), "frames")
    for row in rows:
        took = "kept" if row["seconds"] is None else f"{row['seconds']:.0f} s"
        scores = (figure(row[key], absent="") for key in ("miou", "mean_dice"))
        table.add_row(row["stage"], took, f"{row['size_bytes'] / 1e6:.2f}", *scores, row["split"] or "")
    print_table(table)
    print_lines(*(f"{row['stage']}: {row['file']}" for row in rows))


def _row(result: StageResult) -> dict[str, Any]:
    from jetseg.manifest_file import has_manifest
    from jetseg.network import load_manifest

    file = next(iter(result.artifacts.values()))
    measured = load_manifest(file).accuracy if has_manifest(file) else ()
    return {
        "stage": result.name,
        "seconds": result.seconds,
        "file": str(file),
        "size_bytes": file.stat().st_size,
        "miou": measured[0].miou if measured else None,
        "mean_dice": measured[0].mean_dice if measured else None,
        "split": f"{measured[0].split}, {measured[0].frames}" if measured else None,
    }
