"""`jetseg run`: the realtime loop on a camera, a file or a dataset."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli import run_outputs as outputs_of

if TYPE_CHECKING:
    from jetseg.camera.contract import Sink, Source
    from jetseg.camera.stopping import StopFlag
    from jetseg.manifest import Manifest
    from jetseg.monitor.rate import Percentiles
    from jetseg.monitor.statistics import LoopSummary

ENGINE = typer.Argument(help="Engine, ONNX file or checkpoint (.safetensors).")
SOURCE = typer.Option(
    metavar="SOURCE",
    help="Camera index, video file, folder of images, URL, dataset spec (camvid:DIR, ...), `synthetic` (an "
    "endless drive, live at 30 frames per second) or `synthetic:N`.",
)
LABELS = typer.Option(
    "--labels/--no-labels", help="Measure mIoU against the source's labels; by default where it has them."
)
OUTPUT = typer.Option(metavar="FILE.mp4", help="Record the frames with colored classes.")
PACE = typer.Option(
    min=0.2,
    metavar="FPS",
    help="Feed files or a dataset as a live camera: frames come at this rate, late ones are dropped.",
)


def run(
    engine: Annotated[Path, ENGINE],
    source: Annotated[str, SOURCE],
    split: Annotated[str, typer.Option(help="Split of a dataset.")] = "test",
    labels: Annotated[bool | None, LABELS] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the frames in a window; q ends.")] = False,
    seconds: Annotated[float | None, typer.Option(help="End after this time.")] = None,
    frames: Annotated[int | None, typer.Option(help="End after this many frames.")] = None,
    pace: Annotated[float | None, PACE] = None,
    alpha: Annotated[float, typer.Option(help="Weight of the class colors, 0 to 1.")] = 0.5,
    legend: Annotated[bool, typer.Option("--legend", help="Draw the list of classes.")] = False,
    record: Annotated[Path | None, outputs_of.RECORD] = None,
    segment_seconds: Annotated[float, outputs_of.SEGMENT_SECONDS] = 60.0,
    record_gb: Annotated[float | None, outputs_of.RECORD_GB] = None,
    class_maps: Annotated[Path | None, outputs_of.CLASS_MAPS] = None,
    ring: Annotated[str | None, outputs_of.RING] = None,
    publish: Annotated[str | None, outputs_of.PUBLISH] = None,
    log: Annotated[Path | None, outputs_of.LOG] = None,
    metrics: Annotated[int | None, outputs_of.METRICS] = None,
    dashboard: Annotated[int | None, outputs_of.DASHBOARD] = None,
    dashboard_host: Annotated[str, outputs_of.DASHBOARD_HOST] = "127.0.0.1",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Runs an engine on a camera, and measures frames per second, frame age and mIoU.

    Frame age is the time from capture to the class map being ready. A live source that is faster than the
    engine loses its older frames, which are counted. From files no frame is lost, so there the age holds the
    time in queues; `--pace` feeds them like a camera. The engine's speed alone is measured before the loop
    starts, for comparison. Ctrl-C ends with the summary.

    Examples:

        jetseg run student.int8.onnx --source 0 --show

        jetseg run student.int8.onnx --source drive.mp4 --output drive_segmented.mp4

        jetseg run student.int8.onnx --source camvid:data/camvid --split test --pace 30 --json

        jetseg run student.int8.onnx --source 0 --dashboard 8080 --record drives --record-gb 50 --log logs
    """
    from jetseg.camera import loop
    from jetseg.camera.sources import open_source
    from jetseg.camera.stopping import StopFlag, stop_on_signals
    from jetseg.cli.artifacts import open_any
    from jetseg.manifest import validate_config
    from jetseg.monitor.events import EventLog

    options = outputs_of.OutputOptions(
        record=record,
        segment_seconds=segment_seconds,
        record_gb=record_gb,
        class_maps=class_maps,
        ring=ring,
        publish=publish,
        log=log,
        metrics=metrics,
        dashboard=dashboard,
        dashboard_host=dashboard_host,
        alpha=alpha,
    )
    settings = {"frames": frames, "seconds": seconds, "alpha": alpha, "legend": legend}
    config = validate_config(loop.LoopConfig, settings)
    stop = StopFlag()
    events = EventLog()
    with stop_on_signals(stop), ExitStack() as stack:
        runner = open_any(engine, manifest, threads)
        stack.callback(runner.close)
        feed = open_source(source, split=split, labels=labels, pace=pace)
        conditions = _conditions(engine, runner.manifest, feed, output)
        statistics = None
        try:
            with ExitStack() as open_sinks:
                title = {"engine": engine.name, "source": feed.name}
                opening = outputs_of.open_outputs(options, feed, runner.manifest, events, title)
                outputs = open_sinks.enter_context(opening)
                sinks = [*outputs.sinks, *_open_sinks(open_sinks, feed, output=output, show=show, stop=stop)]
                _say(f"Timing {engine.name} alone, for comparison ...")
                statistics = loop.new_statistics(runner, feed, stop=stop, events=events)
                open_sinks.enter_context(outputs.follow(statistics))
                _say(f"Running on {source}; Ctrl-C ends.")
                loop.run(config, runner, feed, sinks, statistics=statistics, stop=stop)
        except Exception:
            # hours of figures are worth more than a tidy screen; stdout stays free of a half result
            if statistics is not None and statistics.rate.count:
                _print(statistics.summary(), conditions, to_stderr=True)
            raise
    summary, machine = statistics.summary(), outputs.host.summary()
    if as_json:
        found = {**conditions, **asdict(summary), "host": machine and asdict(machine)}
        sys.stdout.write(json.dumps(_rounded(found), indent=2) + "\n")
    else:
        _print(summary, conditions)
        _say(outputs_of.host_line(machine))


def _open_sinks(stack: ExitStack, source: Source, *, output: Path | None, show: bool, stop: StopFlag) -> list[Sink]:
    from jetseg.camera.sinks.video import open_video_sink
    from jetseg.camera.sinks.window import WindowSink
    from jetseg.camera.status_line import open_status_line
    from jetseg.progress import console

    sinks: list[Sink] = []
    if output is not None:
        sinks.append(stack.enter_context(open_video_sink(output, source.frames_per_second, live=source.live)))
    if show:
        window = WindowSink("jetseg", stop)
        stack.callback(window.close)
        sinks.append(window)
    sinks.append(stack.enter_context(open_status_line(console)))
    return sinks


def _conditions(engine: Path, manifest: Manifest, source: Source, output: Path | None) -> dict[str, Any]:
    from jetseg.manifest import device_name, toolchain

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


def _print(summary: LoopSummary, conditions: dict[str, Any], *, to_stderr: bool = False) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=to_stderr)
    split = f" {conditions['split']}" if conditions["split"] else ""
    console.print(
        f"{summary.frames} of {summary.captured} frames from {conditions['source']}{split} in "
        f"{summary.seconds:.1f} s, {summary.dropped} dropped",
        markup=False,
        highlight=False,
    )
    rates = Table.grid(padding=(0, 2))
    rates.add_row("frames per second", _number(summary.frames_per_second), _share(summary))
    rates.add_row("engine alone", _number(summary.engine_frames_per_second), "measured just before")
    if summary.per_class_iou is not None:
        rates.add_row("mIoU %", _number(summary.miou, 2), "")
    console.print(rates)
    times = Table()
    for title in ("ms", "p50", "p95", "p99"):
        times.add_column(title, justify="left" if title == "ms" else "right")
    times.add_row("frame age", *_triple(summary.frame_age_ms), style="bold", end_section=True)
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


def _say(text: str) -> None:
    from jetseg.progress import console

    console.print(text, style="dim", markup=False, highlight=False)


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


def _rounded(value: Any) -> Any:  # noqa: ANN401 - anything that json takes
    """Rounds every figure of a nested result to what was measured, not more."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
