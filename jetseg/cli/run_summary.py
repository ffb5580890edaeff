"""What `jetseg run` prints at its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetseg.camera.contract import Source
    from jetseg.camera.sinks.monitors import MonitorSink
    from jetseg.manifest import Manifest
    from jetseg.monitor.rate import Percentiles
    from jetseg.monitor.statistics import LoopSummary


def conditions_of(engine: Path, manifest: Manifest, source: Source, output: Path | None) -> dict[str, Any]:
    """Returns what the figures of a run belong to."""
    from jetseg.provenance import device_name, toolchain

    backend = "torch" if manifest.kind == "checkpoint" else manifest.backend or "onnxruntime"
    return {
        "engine": str(engine),
        "source": source.name,
        "split": source.split,
        "output": str(output) if output else None,
        "device": device_name(),
        "backend": backend,
        "precision": manifest.precision,
        "toolchain": toolchain(),
    }


def print_summary(summary: LoopSummary, conditions: dict[str, Any], *, to_stderr: bool = False) -> None:
    """Prints the figures of a run."""
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=to_stderr)
    split = f" {conditions['split']}" if conditions["split"] else ""
    console.print(
        f"{summary.frames} of {summary.captured} frames from {conditions['source']}{split} in "
        f"{summary.seconds:.1f} s, {summary.dropped} dropped{_causes(summary)}, {summary.corrupt} corrupt",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    rates = Table.grid(padding=(0, 2))
    rates.add_row("frames per second", _number(summary.frames_per_second), _share(summary))
    rates.add_row("engine alone", _number(summary.engine_frames_per_second), "measured just before")
    if summary.per_class_iou is not None:
        rates.add_row("mIoU %", _number(summary.miou, 2), "")
    if summary.deadline_ms is not None:
        rates.add_row("late frames", str(summary.deadline_misses), f"older than {summary.deadline_ms:g} ms")
    for name, count in summary.frames_by_engine.items():
        rates.add_row("frames by", str(count), name)
    console.print(rates)
    times = Table()
    for title in ("ms", "p50", "p95", "p99", "worst"):
        times.add_column(title, justify="left" if title == "ms" else "right")
    worst = _number(summary.worst_frame_age_ms)
    times.add_row("frame age", *_triple(summary.frame_age_ms), worst, style="bold", end_section=True)
    for stage, figures in summary.stage_ms.items():
        times.add_row(stage, *_triple(figures))
    console.print(times)
    if summary.per_class_iou is not None:
        listed = ", ".join(f"{name} {_number(iou)}" for name, iou in summary.per_class_iou.items())
        console.print(f"IoU %: {listed}", markup=False, highlight=False)
    if conditions["output"] and not to_stderr:
        console.print(f"Wrote {conditions['output']}", markup=False, highlight=False)
    versions = ", ".join(f"{name} {version}" for name, version in conditions["toolchain"].items())
    console.print(
        f"{conditions['precision']} in {conditions['backend']} on {conditions['device']}; {versions}",
        style="dim",
        markup=False,
        highlight=False,
    )


def say(text: str) -> None:
    """Prints a remark on stderr."""
    from jetseg.cli.bars import console

    console.print(text, style="dim", markup=False, highlight=False)


def _causes(summary: LoopSummary) -> str:
    listed = ", ".join(f"{cause} {count}" for cause, count in summary.dropped_by_cause.items() if count)
    return f" ({listed})" if listed else ""


def _share(summary: LoopSummary) -> str:
    if not summary.frames_per_second or not summary.engine_frames_per_second:
        return ""
    return f"{100 * summary.frames_per_second / summary.engine_frames_per_second:.0f}% of the engine alone"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _triple(figures: Percentiles | None) -> tuple[str, str, str]:
    if figures is None:
        return "-", "-", "-"
    return f"{figures.p50:.1f}", f"{figures.p95:.1f}", f"{figures.p99:.1f}"


def rounded(value: Any) -> Any:  # noqa: ANN401 - anything that json takes
    """Rounds every figure of a nested result to what was measured, not more."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return value


def print_monitor(monitor: MonitorSink) -> None:
    """Prints where drift and shadow stand."""
    from rich.console import Console

    lines = []
    if monitor.drift is not None:
        raised = [f"{event} ({state.alarms})" for event, state in monitor.drift.state().items() if state.alarms]
        lines.append(
            f"drift: {', '.join(raised) or 'no alarm'}; on at the end: {', '.join(monitor.drift.active) or '-'}"
        )
    if monitor.shadow is not None:
        found = monitor.shadow.state()
        lines.append(
            f"shadow: agreement mIoU {_number(found.agreement_miou, 2)} % on {found.compared} frames "
            f"({found.skipped} skipped), bound {found.bound:.1f} %, {found.alarms} alarms"
        )
    for line in lines:
        Console().print(line, markup=False, highlight=False, soft_wrap=True)
