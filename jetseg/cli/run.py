"""`jetseg run`: the realtime loop on a camera, a file or a dataset."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jetseg.cli import run_outputs as outputs_of
from jetseg.cli.artifacts import by_name
from jetseg.cli.entries import manifest_for
from jetseg.cli.run_engines import end_process, lighter_engines, open_ladder, open_watch
from jetseg.cli.run_summary import conditions_of, print_monitor, print_summary, rounded, say

if TYPE_CHECKING:
    from jetseg.camera.contract import Sink, Source
    from jetseg.camera.stopping import StopFlag

ENGINE = typer.Argument(
    callback=by_name, help="Engine, ONNX file or checkpoint (.safetensors), or the name of a shipped network."
)
SOURCE = typer.Option(
    metavar="SOURCE",
    help="Camera index, csi:N (with csi:N?width=1920&height=1080&fps=30), video file, folder of images, URL, dataset "
    "spec (camvid:DIR, ...), `synthetic` (an endless drive, live at 30 frames per second) or `synthetic:N`.",
)
WAIT = typer.Option("--wait", help="Wait for a camera that is not there yet, instead of ending.")
DEADLINE = typer.Option(metavar="MS", help="Count frames that are older than this when their class map is ready.")
LADDER = typer.Option(
    metavar="A,B,C",
    help="Engines from best to lightest: a lighter one serves while deadlines are missed. ENGINE comes first.",
)
WATCHDOG = typer.Option(metavar="SECONDS", help="End with exit code 4 if a stage hangs on one frame for this long.")
LABELS = typer.Option(
    "--labels/--no-labels", help="Measure mIoU against the source's labels; by default where it has them."
)
OUTPUT = typer.Option(metavar="FILE.mp4", help="Record the frames with colored classes.")
PACE = typer.Option(
    min=0.2,
    metavar="FPS",
    help="Feed files or a dataset as a live camera: frames come at this rate, late ones are dropped.",
)

DRIFT = typer.Option("--drift/--no-drift", help="Compare frames and answers with those at calibration.")
SHADOW = typer.Option(
    metavar="REFERENCE.onnx",
    callback=by_name,
    help="Compare the engine with this network, in the background: the one it was made from.",
)
SHADOW_BOUND = typer.Option(
    min=0, max=100, metavar="PERCENT", help="Agreement mIoU below which the shadow raises an alarm; learned at build."
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
    wait: Annotated[bool, WAIT] = False,
    deadline_ms: Annotated[float | None, DEADLINE] = None,
    ladder: Annotated[str | None, LADDER] = None,
    watchdog: Annotated[float, WATCHDOG] = 10.0,
    drift: Annotated[bool, DRIFT] = True,
    shadow: Annotated[Path | None, SHADOW] = None,
    shadow_every: Annotated[int, typer.Option(min=1, metavar="N", help="Of N frames, one is compared.")] = 30,
    shadow_bound: Annotated[float | None, SHADOW_BOUND] = None,
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
    manifest: Annotated[Path | None, typer.Option(help="Manifest for files that have none beside them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Runs an engine on a camera, and measures frames per second, frame age and mIoU.

    Frame age is the time from capture to the class map being ready. A live source that is faster than the
    engine loses its older frames, which are counted. From files no frame is lost, so there the age holds the
    time in queues; `--pace` feeds them like a camera. The engine's speed alone is measured before the loop
    starts, for comparison. Ctrl-C ends with the summary. A camera that is lost while running is opened again until it
    is back.

    Examples:

        jetseg run camvid-light --source 0 --show

        jetseg run student.int8.onnx --source drive.mp4 --output drive_segmented.mp4

        jetseg run student.int8.onnx --source camvid:data/camvid --split test --pace 30 --json

        jetseg run student.int8.onnx --source 0 --shadow student.onnx --shadow-every 60

        jetseg run student.int8.onnx --source 0 --dashboard 8080 --record drives --record-gb 50 --log logs
    """
    from jetseg.camera import loop
    from jetseg.camera.sources.open import open_source
    from jetseg.camera.stopping import StopFlag, stop_on_signals
    from jetseg.cli.artifacts import open_any
    from jetseg.config import validate_config
    from jetseg.monitor.events import EventLog
    from jetseg.monitor.score_tap import ScoreTap

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
    settings |= {"deadline_ms": deadline_ms, "watchdog_seconds": watchdog}
    config = validate_config(loop.LoopConfig, settings)
    lighter = lighter_engines(engine, ladder, deadline_ms)
    events = EventLog()
    events.listen(lambda event: say(f"{event.kind}: {event.text}"))
    stop = StopFlag()
    with stop_on_signals(stop), ExitStack() as stack:
        bare = open_any(engine, manifest_for(engine, manifest), threads)
        stack.callback(bare.close)
        runner = ScoreTap(bare)
        feed = open_source(source, split=split, labels=labels, pace=pace, events=events, wait=wait)
        conditions = conditions_of(engine, runner.manifest, feed, output)
        statistics = None
        try:
            with ExitStack() as open_sinks:
                title = {"engine": engine.name, "source": feed.name}
                outputs = open_sinks.enter_context(
                    outputs_of.open_outputs(options, feed, runner.manifest, events, title)
                )
                watch = open_watch(
                    open_sinks,
                    runner,
                    feed,
                    drift=drift,
                    shadow=shadow,
                    manifest=manifest,
                    every=shadow_every,
                    bound=shadow_bound,
                )
                local = _open_sinks(open_sinks, feed, output=output, show=show, stop=stop)
                say(f"Timing {engine.name} alone, for comparison ...")
                statistics = loop.new_statistics(bare, feed, stop=stop, events=events)
                engines = open_ladder(stack, statistics, engine, runner, lighter, threads, outputs.host.is_hot)
                open_sinks.enter_context(outputs.follow(statistics, watch.summary))
                say(f"Running on {feed.name}; Ctrl-C ends.")
                loop.run(
                    config,
                    runner,
                    feed,
                    [watch, *outputs.sinks, *local],
                    statistics=statistics,
                    stop=stop,
                    ladder=engines,
                    give_up=partial(end_process, statistics, conditions),
                )
        except Exception:
            # hours of figures are worth more than a tidy screen; stdout stays free of a half result
            if statistics is not None and statistics.rate.count:
                print_summary(statistics.summary(), conditions, to_stderr=True)
            raise
    summary, machine = statistics.summary(), outputs.host.summary()
    if as_json:
        found = {**conditions, **asdict(summary), **watch.summary(), "host": machine and asdict(machine)}
        sys.stdout.write(json.dumps(rounded(found), indent=2) + "\n")
    else:
        print_summary(summary, conditions)
        print_monitor(watch)
        say(outputs_of.host_line(machine))


def _open_sinks(stack: ExitStack, source: Source, *, output: Path | None, show: bool, stop: StopFlag) -> list[Sink]:
    from jetseg.camera.sinks.video import open_video_sink
    from jetseg.camera.sinks.window import WindowSink
    from jetseg.camera.status_line import open_status_line
    from jetseg.cli.bars import console

    sinks: list[Sink] = []
    if output is not None:
        sinks.append(stack.enter_context(open_video_sink(output, source.frames_per_second, live=source.live)))
    if show:
        window = WindowSink("jetseg", stop)
        stack.callback(window.close)
        sinks.append(window)
    sinks.append(stack.enter_context(open_status_line(console)))
    return sinks
