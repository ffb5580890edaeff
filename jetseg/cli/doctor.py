"""`jetseg doctor`: what this machine has and lacks, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from jetseg.doctor.examination import Examination

_STYLES = {"ok": "green", "warning": "yellow", "missing": "red"}


def doctor(
    need: Annotated[
        str | None, typer.Option(metavar="BACKEND", help="Exit with 3 if this backend cannot run here.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Examines this machine: board, JetPack, CUDA, TensorRT, OpenCV, cameras, power, memory, disk.

    Each line has a verdict and a next step; the last lines say which backends can run here. Nothing is changed, and
    the exit code is 0 whatever is found, unless a backend is asked for with --need (a health check, for example).

    Examples:

        jetseg doctor

        jetseg doctor --json

        jetseg doctor --need tensorrt
    """
    from jetseg.doctor.examination import examine, needed
    from jetseg.doctor.host import Host
    from jetseg.errors import ConfigError, DeviceError

    if need is not None and need not in needed():
        raise ConfigError(f"The doctor knows no backend named {need}.", f"Choose from: {', '.join(needed())}.")
    examination = examine(Host())
    if as_json:
        backends = {name: {"ready": not lacks, "lacks": lacks} for name, lacks in examination.lacking.items()}
        print_json({"findings": examination.findings, "backends": backends})
    else:
        _print(examination)
    lacks = examination.lacking[need] if need else ()
    if lacks:
        raise DeviceError(f"{need} cannot run here: {', '.join(lacks)} missing.", "`jetseg doctor` says what to do.")


def _print(examination: Examination) -> None:
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for heading in ("", "verdict", "found", "next step"):
        table.add_column(heading, overflow="fold")
    for finding in examination.findings:
        verdict = Text(finding.verdict, style=_STYLES[finding.verdict])
        table.add_row(finding.name, verdict, Text(finding.found), Text(finding.next_step))
    print_table(table)
    for backend, lacks in examination.lacking.items():
        said = f"lacks {', '.join(lacks)}" if lacks else "can run here"
        print_lines(f"{backend}: {said}", style="red" if lacks else "green")
