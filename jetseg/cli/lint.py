"""`jetseg lint`: what TensorRT and the DLA will say about a network, before a device sees it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines, print_table
from jetseg.engine.tensorrt.lint_config import LintConfig

if TYPE_CHECKING:
    from jetseg.engine.tensorrt.lint import LintFinding, LintResult


@options.with_settings
def lint(
    model: Annotated[Path, typer.Argument(help="ONNX file: float, or with explicit quantizers (Q/DQ).")],
    settings: Annotated[dict[str, Any], options.From(LintConfig)],
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Says what TensorRT refuses, what the DLA leaves to the GPU, and which layers do not fill INT8 tensor cores.

    It needs neither TensorRT nor a GPU. What is refused was seen in the messages of NVIDIA's parser; what the DLA takes
    is by NVIDIA's documentation, and only a build on the device decides it. Exit code 1 if something is refused.

    Examples:

        jetseg lint student.onnx --target orin-nano-8gb

        jetseg lint student.onnx --target agx-orin-64gb --device dla
    """
    from jetseg.errors import QualityError
    from jetseg.workflows.linting import lint as run

    result = run(model, manifest=manifest, **settings)
    if as_json:
        print_json(result)
    else:
        _print(result)
    refused = sum(finding.kind == "refused" for finding in result.findings)
    if refused:
        raise QualityError(f"TensorRT would refuse {model}: {refused} findings.", "Change what is listed as refused.")


def _print(result: LintResult) -> None:
    if result.findings:
        table = Table(box=SIMPLE_HEAD, header_style="bold")
        for heading in ("", "node", "operator", "found", "what to do"):
            table.add_column(heading, overflow="fold")
        alike = Counter(_kind(finding) for finding in result.findings)
        for kind, finding in reversed({_kind(finding): finding for finding in reversed(result.findings)}.items()):
            more = f" and {alike[kind] - 1} more" if alike[kind] > 1 else ""
            cells = (finding.kind, finding.node + more, finding.operator, finding.found, finding.fix)
            table.add_row(*(Text(cell) for cell in cells), style="bold red" if finding.kind == "refused" else None)
        print_table(table)
    lines = [f"The builder rewrites by itself: {sentence}." for sentence in result.rewritten]
    if result.dla is not None:
        taken, others = len(result.dla.on_dla), len(result.dla.on_gpu)
        lines.append(
            f"DLA: {taken} of {taken + others} layers, in {result.dla.pieces} or more pieces; {result.dla.hops} hops "
            "between DLA and GPU. By NVIDIA's documentation; only a build on the device decides."
        )
    lines += result.releases
    lines.append(f"{result.nodes} nodes, {len(result.findings)} findings")
    print_lines(*lines)


def _kind(finding: LintFinding) -> tuple[str, str, str]:
    """Returns what findings that fill one row have in common."""
    return finding.kind, finding.operator, finding.found
