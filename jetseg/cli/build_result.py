"""What `jetseg build-engine` prints about an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from jetseg.cli.output import print_lines, print_table, right

if TYPE_CHECKING:
    from jetseg.engine.backend import BuildReport
    from jetseg.engine.contest import Contest
    from jetseg.engine.result import BuildResult
    from jetseg.evaluation.agreement import Agreement
    from jetseg.measured import Accuracy

_OF_VOLUMES = {"dice": "Dice of volumes", "nsd": "NSD of volumes", "hd95_mm": "HD95 of volumes, mm"}


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
        "scheme": result.scheme,
        "backend": result.manifest.backend,
        "sha256": result.manifest.sha256,
        "size_bytes": result.path.stat().st_size,
        "integer_layers": len(result.report.integer_layers),
        "float_layers": result.report.float_layers,
        "macs": sum(result.report.macs.values()) or None,
        "integer_macs": result.report.integer_macs if result.report.macs else None,
        "layer_precisions": dict(result.report.layer_precisions),
        "layer_devices": dict(result.report.layer_devices),
        "hops": dict(result.report.hops),
        "note": result.report.note,
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
        "speed": result.contest.record() if result.contest else None,
        "float_because": result.float_because,
    }


def show(result: BuildResult) -> None:
    """Prints what was built and what it lost."""
    report = result.report
    print_lines(
        f"{result.path}: {_number(result)} for {result.manifest.backend}, "
        f"{result.path.stat().st_size / 1e6:.2f} MB{_on_integers(report)}"
    )
    if report.note is not None:
        print_lines(report.note, style="yellow")
    if report.layer_precisions:
        listed = ", ".join(f"{count} in {precision}" for precision, count in report.layer_precisions.items())
        print_lines(f"Layers of the engine: {listed}{_places(report)}")
    if report.not_run_here is not None:
        measured = result.accuracy or result.agreement
        predicted = " What follows is predicted by exact simulation, not measured on it." if measured else ""
        print_lines(f"{report.not_run_here}{predicted}", style="yellow")
    if result.contest is not None:
        _show_contest(result.contest, result.manifest.precision)
    if result.float_because is not None:
        print_lines(_why_float(result), style="yellow")
    table = _losses(result)
    if table is None:
        text = "What it lost was not measured; give --data SPEC, on a machine that computes this precision."
        print_lines(text, style="yellow")
        return
    print_table(table)
    if result.sensitive_layers:
        headings = right("pixels that keep their class %"), "worst quantizer, alone %", right("in float, ms more")
        blame = Table("layer", *headings, title="Each layer alone in 8 bits", title_justify="left")
        for effect in result.sensitive_layers[:8]:
            cost = "-" if effect.float_ms is None else f"{effect.float_ms:+.3f}"
            worst = min(effect.quantizers, key=lambda part: part.agreement)
            blame.add_row(effect.layer, f"{effect.agreement:.2f}", f"{worst.tensor} ({worst.agreement:.2f})", cost)
        print_table(blame)
    if len(result.attempts) > 1:
        print_lines(*result.attempts)


def _number(result: BuildResult) -> str:
    """Names an engine's precision, and the scheme of its quantizers where that says more."""
    precision, scheme = result.manifest.precision, result.scheme
    return precision if scheme in (None, precision) else f"{precision} (scheme {scheme})"


def _on_integers(report: BuildReport) -> str:
    """Says how much of the work is done on integers, as far as it is known."""
    products, work = len(report.integer_layers) + len(report.float_layers), sum(report.macs.values())
    if not products:
        return ""
    share = f"{100 * report.integer_macs / work:.0f} % of {_count(work)} multiply-accumulates; " if work else ""
    return f", on integers: {share}{len(report.integer_layers)} of {products} products"


def _count(number: int) -> str:
    """Shortens a count.

    >>> _count(1_234_000_000), _count(56_000), _count(999)
    ('1.2 G', '56 k', '999')
    """
    unit, divisor = next((unit, size) for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1)) if number >= size)
    return f"{number / divisor:.{0 if number >= 10 * divisor else 1}f} {unit}".strip()


def _show_contest(contest: Contest, precision: str) -> None:
    """Prints whether 8 bits pay, and where."""
    gain, best = contest.gain, contest.best_float
    if contest.regions:
        headings = map(right, ("layers", "float ms", "int8 ms", "quantizers ms"))
        table = Table("from", "to", *headings, "runs in", title="Where 8 bits pay", title_justify="left")
        for region in contest.regions:
            times = (f"{ms:.3f}" for ms in (region.float_ms, region.int8_ms, region.change_ms))
            numbers = "int8" if region.integer and precision == "int8" else "float"
            table.add_row(region.first, region.last, str(region.layers), *times, numbers)
        print_table(table)
    listed = ", ".join(f"{name} {ms:.2f} ms" for name, ms in contest.latencies_ms.items())
    print_lines(
        f"Timed in turn on this machine, {contest.threads} thread(s), without pre- and postprocessing: {listed}"
    )
    if precision == "int8":
        print_lines(f"int8 is {gain:.2f} times as fast as {best}.")
        if contest.less_accurate_ms is not None:
            more = contest.latencies_ms[precision] - contest.less_accurate_ms
            print_lines(f"What is in float for accuracy costs {more:+.2f} ms of {contest.less_accurate_ms:.2f} ms.")


def _why_float(result: BuildResult) -> str:
    kept = result.manifest.precision
    if result.float_because == "no gain" and result.contest is not None:
        return f"int8 gains nothing here: {result.contest.gain:.2f}; {result.contest.best_float} kept (or --force)."
    return f"No mixture with layers in 8 bits passes; {kept} kept. What each one reached is listed below."


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
    if after.tasks:
        return _task_losses(before, after, agreement, result.manifest.precision)
    title = f"IoU % on {after.data} {after.split}, {after.frames} frames"
    headings = map(right, ("float", result.manifest.precision, "change", "keep the float network's class"))
    table = Table("class", *headings, title=title, title_justify="left")
    for name, iou in after.per_class_iou.items():
        kept_here = f"{agreement.kept[name]:.2f}" if name in agreement.kept else "-"
        table.add_row(name, *_change(before.per_class_iou[name], iou), kept_here)
    table.add_section()
    table.add_row("mIoU, all pixels", *_change(before.miou, after.miou), f"{agreement.percent:.2f}", style="bold")
    if after.volumes is not None:
        for metric, text in _OF_VOLUMES.items():
            table.add_row(text, *_change(before.metric(metric), after.metric(metric)))
    return table


def _task_losses(before: Accuracy, after: Accuracy, agreement: Agreement, precision: str) -> Table:
    """Returns what the engine lost, task by task."""
    title = f"Tasks on {after.data} {after.split}, {after.frames} frames"
    headings = map(right, ("float", precision, "change", "same as the float network's, pixels %"))
    table = Table("task", "metric", *headings, title=title, title_justify="left")
    for name, kept in agreement.kept.items():
        for metric, value in after.tasks.get(name, {"-": None}).items():
            old = before.tasks.get(name, {}).get(metric)
            table.add_row(name, metric, *_change(old, value), f"{kept:.2f}")
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
