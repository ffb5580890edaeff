"""What `jetseg run` prints at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jetseg.cli.bars import console as stderr
from jetseg.cli.output import Terminal, figure, origin, print_lines, right

if TYPE_CHECKING:
    from jetseg.monitor.host import HostSummary
    from jetseg.monitor.rate import Percentiles
    from jetseg.monitor.statistics import LoopSummary
    from jetseg.workflows.drive_result import DriveResult
    from jetseg.workflows.fleet import FleetResult


def print_run(result: DriveResult | FleetResult, *, to_stderr: bool = False) -> None:
    """Prints what a run of one camera or of several came to; on stderr the figures alone."""
    for name, camera in result.cameras.items():
        if name:
            print_lines("", f"== {name} ==", console=Terminal(stderr=to_stderr))
        print_summary(camera, to_stderr=to_stderr)
        if not to_stderr:
            print_monitors(camera.monitors)
    if len(result.cameras) > 1:
        rates = figure(result.frames_per_second, 1), figure(result.engine_frames_per_second, 1)
        together = f"all {len(result.cameras)} cameras: {rates[0]} frames per second together, engine alone {rates[1]}"
        print_lines("", together, console=Terminal(stderr=to_stderr))
    if not to_stderr:
        say(host_line(next(iter(result.cameras.values())).host))


def print_summary(result: DriveResult, *, to_stderr: bool = False) -> None:
    """Prints the figures of a run."""
    console, summary, conditions = Terminal(stderr=to_stderr), result.summary, result.conditions
    split = f" {conditions['split']}" if conditions["split"] else ""
    print_lines(
        f"{summary.frames} of {summary.captured} frames from {conditions['source']}{split} in "
        f"{summary.seconds:.1f} s, {summary.dropped} dropped{_causes(summary)}, {summary.corrupt} corrupt",
        console=console,
    )
    rates = Table.grid(padding=(0, 2))
    rates.add_row("frames per second", figure(summary.frames_per_second, 1), _share(summary))
    rates.add_row("engine alone", figure(summary.engine_frames_per_second, 1), "measured just before")
    if summary.per_class_iou is not None:
        rates.add_row("mIoU %", figure(summary.miou), "")
    if summary.deadline_ms is not None:
        rates.add_row("late frames", str(summary.deadline_misses), f"older than {summary.deadline_ms:g} ms")
    if summary.frames_not_finite:
        rates.add_row(
            "not finite", str(summary.frames_not_finite), "frames whose class maps mean nothing", style="bold red"
        )
    for name, count in summary.frames_by_engine.items():
        rates.add_row("frames by", str(count), name)
    console.print(rates)
    times = Table("ms", *map(right, ("p50", "p95", "p99", "worst")))
    worst = figure(summary.worst_frame_age_ms, 1)
    times.add_row(
        f"frame age since {summary.frame_age_since}",
        *_triple(summary.frame_age_ms),
        worst,
        style="bold",
        end_section=True,
    )
    for stage, figures in summary.stage_ms.items():
        times.add_row(stage, *_triple(figures))
    console.print(times)
    if summary.per_class_iou is not None:
        listed = ", ".join(f"{name} {figure(iou, 1)}" for name, iou in summary.per_class_iou.items())
        print_lines(f"IoU %: {listed}", console=console)
    if conditions["output"] and not to_stderr:
        print_lines(f"Wrote {conditions['output']}", console=console)
    print_lines(origin(conditions), style="dim", console=console)


def print_monitors(monitors: Mapping[str, Any]) -> None:
    """Prints where drift, estimate and shadow stand."""
    lines = []
    if drift := monitors["drift"]:
        raised = [f"{event} ({state['alarms']})" for event, state in drift["signals"].items() if state["alarms"]]
        lines.append(f"drift: {', '.join(raised) or 'no alarm'}; on at the end: {', '.join(drift['active']) or '-'}")
    if estimate := monitors["estimate"]:
        lines.append(_estimate_line(estimate))
    if shadow := monitors["shadow"]:
        lines.append(
            f"shadow: agreement mIoU {figure(shadow['agreement_miou'])} % on {shadow['compared']} frames "
            f"({shadow['skipped']} skipped), bound {shadow['bound']:.1f} %, {shadow['alarms']} alarms"
        )
    print_lines(*lines)


def _estimate_line(estimate: Mapping[str, Any]) -> str:
    windows = estimate["windows"]
    if not windows:
        return "estimated mIoU: the run was too short to tell"
    lowest = min(windows, key=lambda window: window["miou"])
    spans = [
        f"{figure(found['miou'], 1)} ({found['low']:.0f} to {found['high']:.0f})" for found in (windows[-1], lowest)
    ]
    against = ", against the parent network" if estimate["target"] == "agreement" else ""
    return f"estimated mIoU %{against}: {spans[0]} at the end, at its lowest {spans[1]}, {estimate['alarms']} alarms"


def host_line(summary: HostSummary | None) -> str:
    """Writes what the machine did during a run, as one line."""
    if summary is None:
        return "machine: the run was too short to tell"
    parts = [f"CPU {summary.cpu_percent:.0f}%", f"this process {summary.process_mb:.0f} MB at most"]
    if summary.temperature_c is not None:
        parts.append(f"{summary.temperature_c:.0f} °C at most")
    if summary.power_w is not None:
        parts.append(f"{summary.power_w:.1f} W")
    if summary.power_mode is not None:
        parts.append(f"power mode {summary.power_mode}")
    if summary.throttled_seconds is None:
        parts.append("whether it throttled is not known here")
    elif summary.throttled_seconds:
        parts.append(f"throttled for {summary.throttled_seconds:.0f} s: it ran slower than it can")
    else:
        parts.append("never throttled")
    return "machine: " + ", ".join(parts)


def say(text: str) -> None:
    """Prints a remark on stderr."""
    print_lines(text, style="dim", console=stderr)


def _causes(summary: LoopSummary) -> str:
    listed = ", ".join(f"{cause} {count}" for cause, count in summary.dropped_by_cause.items() if count)
    return f" ({listed})" if listed else ""


def _share(summary: LoopSummary) -> str:
    if not summary.frames_per_second or not summary.engine_frames_per_second:
        return ""
    return f"{100 * summary.frames_per_second / summary.engine_frames_per_second:.0f}% of the engine alone"


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
