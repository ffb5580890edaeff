"""`jetseg seal`: vouches for a manifest that lacks its hashes or was changed on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetseg.cli.bars import console
from jetseg.cli.output import print_lines


def seal(
    files: Annotated[
        list[Path], typer.Argument(help="Checkpoints, ONNX files or engines with a manifest beside them.")
    ],
) -> None:
    """Writes manifests again with the hashes that opening them asks for, because you know that they are right.

    For files that jetseg 0.1 or 0.2 made, and for a manifest that you changed yourself, as in the name of a class. It
    is no substitute for a signature: it takes what the files say.

    Examples:

        jetseg seal runs/teacher/best.safetensors

        jetseg seal engines/student.int8.onnx
    """
    from jetseg.workflows.sealing import seal as run

    for file in files:
        print_lines(f"Sealed the manifest of {run(file).path}", console=console)
