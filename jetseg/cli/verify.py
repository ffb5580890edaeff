"""`jetseg verify`: a kit in, a proven engine or the classes that it gets wrong out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines, print_table, right
from jetseg.kit.config import VerifyConfig

if TYPE_CHECKING:
    from jetseg.kit.verifying import VerifyResult


@options.with_settings
def verify(
    kit: Annotated[Path, typer.Argument(help="Kit of `jetseg pack`.")],
    settings: Annotated[dict[str, Any], options.From(VerifyConfig)],
    limits: options.Limits,
    engine: Annotated[
        Path | None, typer.Option(help="Engine that was built from the kit's network; by default one is built.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the engine goes once it has passed; by default in engines/.")
    ] = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Builds an engine from a kit on this machine, and proves it on the kit's reference frames.

    The engine's class maps are compared with the float network's, and its mIoU where the frames have labels. An
    engine that passes gets to its place; one that does not is kept aside as NAME.unverified..., the classes are
    named, and the exit code is 1. A damaged or strange kit is refused with exit code 2 before anything is built.

    Examples:

        jetseg verify student.kit.zip

        jetseg verify student.kit.zip --backend tensorrt --out engines/student.engine

        jetseg verify student.kit.zip --backend tensorrt --precision fp16 --option dla_core=0

        jetseg verify student.kit.zip --engine engines/student.int8.onnx --json
    """
    from jetseg.errors import QualityError
    from jetseg.workflows.kits import verify as run

    options.set_limits(limits)
    result = run(kit, engine=engine, out=out, key=key, **settings)
    if as_json:
        print_json(content(result))
    else:
        show(result)
    violations = result.comparison.violations
    if violations:
        raise QualityError(
            f"{result.engine} is not what was packed: {'; '.join(violations)}.",
            "Do not drive with it. Pack again, or look at `jetseg doctor`; `--precision fp32` tells whether INT8 is "
            "to blame.",
        )


def content(result: VerifyResult) -> dict[str, Any]:
    """Returns the verdict for `--json`."""
    found = asdict(result.comparison)
    return {
        "engine": str(result.engine),
        "passed": not result.comparison.violations,
        "backend": result.manifest.backend,
        "precision": result.manifest.precision,
        "device": result.manifest.device,
        "target": result.index.target,
        "tolerance": result.index.tolerance,
        **found,
        "broken": found["violations"],  # its name until 0.3
    }


def show(result: VerifyResult) -> None:
    """Prints the verdict for people."""
    found = result.comparison
    before = found.before.per_class_iou if found.before else {}
    after = found.after.per_class_iou if found.after else {}
    headings = map(right, ("kept\n%", "float\nIoU %", "engine\nIoU %"))
    table = Table("class", *headings, box=SIMPLE_HEAD, header_style="bold")
    for name in dict.fromkeys((*found.kept, *before)):
        cells = (figure(values.get(name), absent="") for values in (found.kept, before, after))
        table.add_row(Text(name), *cells)
    table.add_section()
    mean = (accuracy.miou if accuracy else None for accuracy in (found.before, found.after))
    table.add_row("all", figure(found.agreement), *(figure(value, absent="") for value in mean), style="bold")
    print_table(table)
    print_lines(
        f"kept: pixels with the float network's class that keep it; {found.frames} frames, the worst is "
        f"{found.worst_frame} with {found.worst_agreement:.2f} %",
        f"{result.manifest.precision} in {result.manifest.backend or 'onnxruntime'} on {result.manifest.device}",
        style="dim",
    )
    if not found.violations:
        print_lines(f"{result.engine}: verified", style="green")
