"""`jetseg baseline`: measures what is normal, for an engine that was built without data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.bars import console
from jetseg.cli.output import print_lines
from jetseg.monitor.config import BaselineConfig


@options.with_settings
def baseline(
    engine: Annotated[Path, typer.Argument(help="Engine or ONNX file.")],
    data: Annotated[str, typer.Option(metavar="SPEC", help="Frames as they are when all is well, best with labels.")],
    settings: Annotated[dict[str, Any], options.From(BaselineConfig)],
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="The network that the engine was made from: measure agreement too."),
    ] = None,
    manifest: options.Manifest = None,
) -> None:
    """Measures what `jetseg run` watches drift by and estimates accuracy by, and writes it into the engine's manifest.

    `jetseg build-engine --data SPEC` does this by itself. Take frames from where the vehicle drives: what is in
    them counts as normal.

    Examples:

        jetseg baseline engines/student.int8.onnx --data camvid:data/camvid

        jetseg baseline engines/student.int8.onnx --data folder:our_roads --split all --reference student.onnx
    """
    from jetseg.workflows.baseline import measure_baseline

    found = measure_baseline(engine, data=data, reference=reference, manifest=manifest, **settings)
    learned = kept = ""
    if found.estimator is not None and found.learned:
        learned = f", and an estimator from {found.estimator.windows} windows,"
    elif found.estimator is not None:
        kept = "; the estimator in it stays"
    print_lines(f"Wrote the profile of {found.profile.frames} frames{learned} into {found.path}{kept}", console=console)
