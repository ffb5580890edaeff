"""`jetseg prune`: removes channels or single weights, then fine-tunes what is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines, print_table, right
from jetseg.cli.settings_file import Config, Set, further
from jetseg.compress.config import FineTuneConfig, PruneConfig

if TYPE_CHECKING:
    from jetseg.compress.prune import PruneResult
    from jetseg.compress.speed import SpeedReport


@options.with_settings
def prune(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to prune.")],
    settings: Annotated[dict[str, Any], options.From(PruneConfig)],
    tuning: Annotated[dict[str, Any], options.From(FineTuneConfig)],
    out: Annotated[
        Path | None, typer.Option(help="Checkpoint to write; by default CKPT with `.pruned` in its name.")
    ] = None,
    data: options.Data = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Reach the ratio in so many steps, each scored anew; they share the epochs.")
    ] = 1,
    config: Config = None,
    set_: Set = None,
    as_json: options.AsJson = False,
) -> None:
    """Prunes a network: whole channels, which makes it faster anywhere, or single weights.

    Structured pruning follows the dependencies between layers, so that additions, concatenations and
    depthwise convolutions stay consistent. With --speedup, layers are timed on the backend, and the network is
    measured until it is as fast as was asked for; the times are kept for the next call. With --latency-table,
    the speed on the device that the table is of is predicted, and nothing is measured. With --epochs, the pruned
    network is fine-tuned (single weights that were pruned stay zero) and the best epoch is kept; --config and
    --set give further settings of that, as in `jetseg train`. The run lies in a folder beside the result and can
    be resumed.

    Examples:

        jetseg prune student.safetensors --ratio 0.5 --criterion taylor --data camvid:data/camvid --epochs 30

        jetseg prune student.safetensors --speedup 2.0 --precision int8 --data camvid:data/camvid --epochs 30

        jetseg prune student.safetensors --speedup 2.0 --backend tensorrt --precision int8 \
            --latency-table orin-nano.int8.json --target orin-nano-8gb --data camvid:data/camvid

        jetseg prune student.safetensors --method 2:4 --data camvid:data/camvid --epochs 10

        jetseg prune student.safetensors --method unstructured --criterion random --ratio 0.5
    """
    from jetseg.workflows.pruning import prune

    given = {**settings, **further(config, tuning, set_)}
    result = prune(checkpoint, out=out, data=data, steps=steps, **given)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: PruneResult) -> None:
    layers_ms = result.speed.layers_ms if result.speed else {}
    times = map(right, ("ms before", "ms after") if layers_ms else ())
    table = Table(
        "layer", right("before"), right("after"), "note", *times, title=str(result.checkpoint), title_justify="left"
    )
    for layer in result.layers:
        cells = [f"{time_ms:.3f}" for time_ms in layers_ms.get(layer.name, ())]
        table.add_row(layer.name, str(layer.before), str(layer.after), layer.note, *cells)
    table.add_section()
    table.add_row("parameters", f"{result.before.parameters:,}", f"{result.after.parameters:,}")
    table.add_row("multiply-accumulates", _count(result.before.macs), _count(result.after.macs))
    if result.miou is not None:
        table.add_row("mIoU % on val, fine-tuned", "", f"{result.miou:.2f}")
    for name, (old, new) in result.tasks.items():
        for metric, value in new.items():
            table.add_row(f"{name} {metric} on val", *map(_figure, (old.get(metric), value)))
    if result.gzip_bytes is not None:
        table.add_row("bytes of the checkpoint after gzip", *(f"{size:,}" for size in result.gzip_bytes))
    print_table(table)
    if result.speed is not None:
        _print_speed(result.speed)


def _print_speed(speed: SpeedReport) -> None:
    for trial in speed.trials:
        table = f", by the table {trial.predicted:.2f}" if trial.predicted else ""
        word = "measured" if speed.source == "measured" else "predicted"
        print_lines(f"removed {100 * trial.amount:.1f} %{table}: {word} {trial.measured:.2f} times as fast")
    print_lines(
        f"{speed.parent_ms:.3f} ms before, {speed.pruned_ms:.3f} ms after: "
        f"{speed.speedup:.2f} times as fast, {speed.wanted:g} wanted; {speed.source}"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(macs: int | None) -> str:
    return "-" if macs is None else f"{macs:,}"
