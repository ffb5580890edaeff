"""`jetseg replay`: a recording through another engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.workflows.replaying import ReplayConfig


@options.with_settings
def replay(
    recording: Annotated[Path, typer.Argument(help="MCAP file of `--record-mcap`, or the folder of them.")],
    engine: Annotated[
        Path, typer.Argument(help="Engine, ONNX file or checkpoint (.safetensors), or the name of a shipped network.")
    ],
    settings: Annotated[dict[str, Any], options.From(ReplayConfig)],
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    manifest: options.Manifest = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Runs a recording through an engine and compares its class maps with the recorded ones, frame by frame.

    With `--min-agreement` the exit code is 1 if the engine agrees less.

    Examples:

        jetseg replay drives/segment-00000001-20261130T101112.000Z.mcap student.int8.onnx

        jetseg replay drives camvid-light --min-agreement 99.5 --json
    """
    from jetseg.errors import QualityError
    from jetseg.workflows.replaying import replay as run

    found = run(recording, engine, manifest=manifest, threads=threads, key=key, **settings)
    if as_json:
        print_json(asdict(found))
    else:
        print_lines(
            f"{found.frames} frames, {found.identical} of them with the same class map; {found.agreement:.3f} % of the "
            f"pixels keep their class, {found.worst_agreement:.3f} % in the worst frame ({found.worst_frame})",
        )
        if found.unmatched or found.corrupt:
            print_lines(f"{found.unmatched} frames or class maps were alone, {found.corrupt} could not be read.")
        if found.damage:
            print_lines(f"{found.damage}.")
    least = settings.get("min_agreement")
    if least is not None and found.agreement < least:
        raise QualityError(
            f"The engine agrees with the recording on {found.agreement:.3f} % of the pixels; {least:g} % are asked for."
        )
