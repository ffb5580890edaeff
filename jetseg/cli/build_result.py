"""What `jetseg build-engine` prints about an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from jetseg.cli.output import print_lines, right

if TYPE_CHECKING:
    from jetseg.engine.backend import BuildReport
    from jetseg.engine.result import BuildResult


def summary(result: BuildResult) -> dict[str, Any]:
    """Returns what `--json` prints."""
    layers = [
        {
            "layer": found.layer,
            "agreement": found.agreement,
            "quantizers": {part.tensor: part.agreement for part in found.quantizers},
            "float_ms": found.float_ms,
        }
        for found in result.sensitive_layers
    ]
    return {
        "engine": str(result.path),
        "precision": result.manifest.precision,
        "backend": result.manifest.backend,
        "sha256": result.manifest.sha256,
        "size_bytes": result.path.stat().st_size,
        "integer_layers": len(result.report.integer_layers),
        "float_layers": result.report.float_layers,
        "layer_precisions": dict(result.report.layer_precisions),
        "layer_devices": dict(result.report.layer_devices),
        "hops": dict(result.report.hops),
        "not_run_here": result.report.not_run_here,
        "parent_accuracy": result.parent_accuracy,
        "accuracy": result.accuracy,
        "agreement": result.agreement,
        "passed": not result.violations,
        "violations": result.violations,
        "sensitive_layers": layers,
        "broken": result.violations,  # names until 0.3
        "guilty_layers": layers,
        "attempts": result.attempts,
    }


def show(result: BuildResult) -> None:
    """Prints what was built and what it lost."""
    report = result.report
    total = len(report.integer_layers) + len(report.float_layers)
    counted = f", {len(report.integer_layers)} of {total} layers on integers" if total else ""
    print_lines(
        f"{result.path}: {result.manifest.precision} for {result.manifest.backend}, "
        f"{result.path.stat().st_size / 1e6:.2f} MB{counted}"
    )
    if report.layer_precisions:
        listed = ", ".join(f"{count} in {precision}" for precision, count in report.layer_precisions.items())
        print_lines(f"Layers of the engine: {listed}{_places(report)}")
    if report.not_run_here is not None:
        measured = result.accuracy or result.agreement
        predicted = " What follows is predicted by exact simulation, not measured on it." if measured else ""
        print_lines(f"{report.not_run_here}{predicted}", style="yellow")
    table = _losses(result)
    if table is None:
        text = "What it lost was not measured; give --data SPEC, on a machine that computes this precision."
        print_lines(text, style="yellow")
        return
    stdout = Console()
    stdout.print(table)
    if result.sensitive_layers:
        headings = right("pixels that keep their class %"), "worst quantizer, alone %", right("in float, ms more")
        blame = Table("layer", *headings, title="Each layer alone in 8 bits", title_justify="left")
        for effect in result.sensitive_layers[:8]:
            cost = "-" if effect.float_ms is None else f"{effect.float_ms:+.3f}"
            worst = min(effect.quantizers, key=lambda part: part.agreement)
            blame.add_row(effect.layer, f"{effect.agreement:.2f}", f"{worst.tensor} ({worst.agreement:.2f})", cost)
        stdout.print(blame, markup=False)
    if len(result.attempts) > 1:
        print_lines(*result.attempts)


def _losses(result: BuildResult) -> Table | None:
    """Returns what the engine lost, class by class; None if nothing was measured. All is in percent."""
    before, after, agreement = result.parent_accuracy, result.accuracy, result.agreement
    if agreement is None:
        return None
    if before is None or after is None:
        kept = right("pixels that keep the float network's class %")
        table = Table(f"{agreement.frames} frames without labels", kept)
        for name, share in agreement.kept.items():
            table.add_row(name, f"{share:.2f}")
        table.add_section()
        table.add_row("all", f"{agreement.percent:.2f}", style="bold")
        return table
    title = f"IoU % on {after.data} {after.split}, {after.frames} frames"
    headings = map(right, ("float", result.manifest.precision, "change", "keep the float network's class"))
    table = Table("class", *headings, title=title, title_justify="left")
    for name, iou in after.per_class_iou.items():
        kept_here = f"{agreement.kept[name]:.2f}" if name in agreement.kept else "-"
        table.add_row(name, *_change(before.per_class_iou[name], iou), kept_here)
    table.add_section()
    table.add_row("mIoU, all pixels", *_change(before.miou, after.miou), f"{agreement.percent:.2f}", style="bold")
    return table


def _places(report: BuildReport) -> str:
    """Says where layers run if not all are on the GPU, and how often the data is changed or moved."""
    devices = ", ".join(f"{count} on the {device}" for device, count in report.layer_devices.items())
    where = f"; {devices}, {report.hops['device']} hops between them" if "DLA" in report.layer_devices else ""
    return f"{where}; {report.hops['format']} change formats" if report.hops else where


def _change(before: float | None, after: float | None) -> tuple[str, str, str]:
    if before is None or after is None:
        return "-", "-", "-"
    return f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"
