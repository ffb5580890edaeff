"""`jetseg advise`: which technique pays for this network on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jetseg.advice.config import AdviseConfig
from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines, print_table, right

if TYPE_CHECKING:
    from jetseg.advice.advising import Advice
    from jetseg.advice.chains import Chain
    from jetseg.advice.finding import Basis

NETWORK = typer.Argument(metavar="NETWORK", help="Checkpoint (.safetensors) or float ONNX file.")
OUT = typer.Option(metavar="FILE", help="Recipe to write; by default NAME.advice.yaml, and the next two beside it.")
PAGE = typer.Option(metavar="FILE", help="Page with figures to write: one HTML file that needs nothing else.")


@options.with_settings
def advise(
    network: Annotated[Path, NETWORK],
    data: options.NeededData,
    settings: Annotated[dict[str, Any], options.From(AdviseConfig)],
    out: Annotated[Path | None, OUT] = None,
    page: Annotated[Path | None, PAGE] = None,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Tries each technique for a minute, and says which chain of them pays for this network on this device.

    INT8, half floats, pruning, low rank, 2:4, distillation, a smaller input and lighter networks: what each gains and
    is expected to lose, what it costs, and how sure that is. The chain that pays is written as a recipe that
    `jetseg compress` runs, the next two beside it. What cannot be measured here is a published figure, and says so.

    Examples:

        jetseg advise student.safetensors --data camvid:data/camvid --max-drop 1.0 --page advice.html

        jetseg advise student.safetensors --data camvid:data/camvid --budget-ms 5

        jetseg advise student.onnx --data camvid:data/camvid --target orin-nano-8gb --json
    """
    from jetseg.advice.advising import advise as run

    advice = run(network, data=data, out=out, page=page, manifest=manifest, **settings)
    if as_json:
        print_json(_record(advice))
    else:
        _print(advice, data)


def _record(advice: Advice) -> dict[str, Any]:
    """Returns what `--json` promises."""
    return {
        "techniques": [
            {
                "name": str(option.plan),
                "technique": finding.technique,
                "speedup": option.speedup,
                "speedup_from": option.speedup_from,
                "expected_drop": option.expected_drop,
                "expected_drop_from": option.drop_from,
                "hours": option.hours,
                "confidence": option.confidence,
                "source": option.source,
            }
            for finding in advice.findings
            for option in finding.options
        ],
        "impossible": {finding.technique: finding.impossible for finding in advice.findings if finding.impossible},
        "notes": {finding.technique: finding.notes for finding in advice.findings if finding.notes},
        "recommended": _chain(advice.recommended),
        "recipe": advice.recipes[0],
        "ranked": [
            {**_chain(chain), "recipe": recipe} for chain, recipe in zip(advice.ranked, advice.recipes, strict=True)
        ],
        "float_ms": advice.float_ms,
        "miou": advice.miou,
        "page": advice.page,
        "seconds": advice.seconds,
        "conditions": advice.conditions,
    }


def _chain(chain: Chain) -> dict[str, Any]:
    return {
        "name": str(chain.plan),
        "techniques": chain.plan.techniques,
        "speedup": chain.speedup,
        "speedup_from": chain.speedup_from,
        "expected_drop": chain.expected_drop,
        "expected_drop_from": chain.drop_from,
        "hours": chain.hours,
        "confidence": chain.confidence,
        "latency_ms": chain.speed and chain.speed.ms,
        "low": chain.speed and chain.speed.low_ms,
        "high": chain.speed and chain.speed.high_ms,
    }


def _print(advice: Advice, data: str) -> None:
    table = Table("technique", *map(right, ("speed", "loss", "hours")), "confidence", box=SIMPLE_HEAD)
    for finding in advice.findings:
        for option in finding.options:
            speed = _figure(option.speedup, option.speedup_from)
            loss = _figure(option.expected_drop, option.drop_from)
            table.add_row(Text(str(option.plan)), speed, loss, figure(option.hours, 1), option.confidence)
        if not finding.options:
            table.add_row(Text(finding.technique, style="dim"), "", "", "", Text(finding.impossible, style="dim"))
    print_table(table)
    print_lines(*(f"{finding.technique}: {note}." for finding in advice.findings for note in finding.notes))
    for place, (chain, recipe) in enumerate(zip(advice.ranked, advice.recipes, strict=True), 1):
        print_lines(
            f"{place}. {chain.plan}: {chain.speedup:.2f} times as fast ({_latency(chain)}), "
            f"{chain.told_drop}, {chain.hours:.1f} h: "
            f"{recipe or 'nothing to do'}",
            style="bold" if place == 1 else None,
        )
    conditions = advice.conditions
    print_lines(
        f"The network as it is: {advice.float_ms:.2f} ms, mIoU {advice.miou:.2f} % on {conditions['frames']} frames of "
        f"{conditions['split']}; speeds {conditions['speeds']}, {conditions['threads']} threads, "
        f"{conditions['device']}.",
    )
    if advice.recipes[0] is not None:
        print_lines(f"To run it: jetseg compress --recipe {advice.recipes[0]} --data {data}")
    if advice.page is not None:
        print_lines(f"Wrote {advice.page}")


def _figure(value: float | None, basis: Basis) -> str:
    """Writes a figure; one that is a guess from the literature says so."""
    return f"prior {figure(value)}" if basis == "prior" and value is not None else figure(value)


def _latency(chain: Chain) -> str:
    """Writes the latency of a chain as a whole, with the interval of a prediction."""
    if chain.speed is None:
        return f"{chain.speedup_from}, by its parts"
    speed = chain.speed
    interval = "" if speed.low_ms == speed.high_ms else f", {speed.low_ms:.2f} to {speed.high_ms:.2f}"
    return f"{chain.speedup_from}, {speed.ms:.2f} ms as a whole{interval}"
