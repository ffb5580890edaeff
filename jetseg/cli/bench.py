"""`jetseg bench`: speed, size and memory of networks, measured against each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jetseg.cli.artifacts import by_name

if TYPE_CHECKING:
    from jetseg.report.rows import Row

ARTIFACTS = typer.Argument(
    callback=by_name, metavar="A [B...]", help="Checkpoints, ONNX files or engines; the first one is the reference."
)
MANIFEST = typer.Option("--manifest", help="Manifest for the files that have none beside them.")


def bench(
    artifacts: Annotated[list[Path], ARTIFACTS],
    manifest: Annotated[Path | None, MANIFEST] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that each network may use.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="How often each network has its turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of one turn, in seconds.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compares latency, frames per second, size and memory of networks by alternated runs.

    Latency is that of the network alone: resizing and normalizing the frame and the argmax on the host are
    not in it. Peak memory is that of a process that does nothing but open and run the network.

    Examples:

        jetseg bench student.onnx student.int8.onnx

        jetseg bench student.safetensors student.onnx --threads 4 --rounds 9 --json
    """
    from jetseg.cli.entries import manifest_for, open_entries
    from jetseg.cli.peak_memory import measure_peak_memory
    from jetseg.evaluate.benchmark import benchmark
    from jetseg.progress import track
    from jetseg.provenance import device_name, toolchain
    from jetseg.report.measure import inference
    from jetseg.report.rows import make_rows

    with open_entries(artifacts, manifest, threads) as entries:
        memory = {
            entry.name: measure_peak_memory(entry.path, manifest_for(entry.path, manifest), threads)
            for entry in track(entries, "Peak memory")
        }
        calls: dict[str, Callable[[], object]] = {entry.name: inference(entry.runner) for entry in entries}
        latencies = benchmark(calls, rounds=rounds, seconds=seconds)
        rows = make_rows(entries, latencies=latencies, peak_memory=memory)
    conditions = {
        "device": device_name(),
        "threads": threads,
        "rounds": rounds,
        "seconds_per_turn": seconds,
        "toolchain": toolchain(),
    }
    _print(rows, conditions, as_json)


def _print(rows: Sequence[Row], conditions: dict[str, object], as_json: bool) -> None:
    from rich.console import Console

    from jetseg.report.table import headline_table

    if as_json:
        content = {**conditions, "networks": [measured(row) for row in rows]}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    console = Console()
    console.print(headline_table(rows))
    turns = f"{conditions['rounds']} rounds of {conditions['seconds_per_turn']} s"
    console.print(
        f"network alone, {conditions['threads']} thread(s), {turns}, alternated; {conditions['device']}",
        style="dim",
        highlight=False,
        markup=False,
    )


def measured(row: Row) -> dict[str, object]:
    """Returns what was measured about a network, without what was not."""
    return {key: value for key, value in asdict(row).items() if value is not None}
