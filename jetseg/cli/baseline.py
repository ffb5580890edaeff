"""`jetseg baseline`: measures what is normal, for an engine that was built without data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REFERENCE = typer.Option(metavar="FILE.onnx", help="The network that the engine was made from: measure agreement too.")


def baseline(
    engine: Annotated[Path, typer.Argument(help="Engine or ONNX file.")],
    data: Annotated[str, typer.Option(metavar="SPEC", help="Frames as they are when all is well; no labels needed.")],
    split: Annotated[str, typer.Option(help="Split to measure on.")] = "train",
    frames: Annotated[int, typer.Option(min=8, help="How many frames to measure, spread evenly in pairs.")] = 128,
    reference: Annotated[Path | None, REFERENCE] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
) -> None:
    """Measures the calibration profile that `jetseg run` watches drift by, and writes it into the engine's manifest.

    `jetseg build-engine --data SPEC` does this by itself. Take frames from where the vehicle drives: what is in
    them counts as normal.

    Examples:

        jetseg baseline engines/student.int8.onnx --data camvid:data/camvid

        jetseg baseline engines/student.int8.onnx --data folder:our_roads --split all --reference student.onnx
    """
    from contextlib import ExitStack

    from jetseg.cli.bars import console
    from jetseg.data.dataset import open_split
    from jetseg.engine.backend import Segmenter
    from jetseg.engine.opening import open_runner
    from jetseg.errors import DataError
    from jetseg.evaluate.profile import LEAST_FRAMES, measure_profile
    from jetseg.manifest import manifest_path
    from jetseg.storage import write_text

    with ExitStack() as stack:
        runner = open_runner(engine, manifest_file=manifest, threads=threads)
        stack.callback(runner.close)
        parent = None
        if reference is not None:
            opened = open_runner(reference, manifest_file=manifest, threads=threads)
            stack.callback(opened.close)
            parent = Segmenter(opened)
        dataset = open_split(data, split)
        measured = measure_profile(runner.infer, runner.manifest, dataset, frames=frames, parent=parent)
    if measured is None:
        raise DataError(f"{data} ({split}) has {len(dataset)} frames.", f"A profile takes {LEAST_FRAMES} or more.")
    # the engine and how it was made stay what they were, so only the profile changes
    complete = runner.manifest.changed(profile=measured)
    write_text(manifest_path(engine), complete.model_dump_json(indent=2) + "\n")
    console.print(f"Wrote the profile of {measured.frames} frames into {manifest_path(engine)}", soft_wrap=True)
