"""`jetseg run`: the realtime loop on a camera, a file or a dataset."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.camera.config import RunConfig
from jetseg.cli import options
from jetseg.cli.output import print_json
from jetseg.cli.run_summary import print_run, rounded, say
from jetseg.main_thread import last_words
from jetseg.registry import DATASETS, SINKS, SOURCES

if TYPE_CHECKING:
    from jetseg.errors import StageStoppedError
    from jetseg.workflows.drive import Drive
    from jetseg.workflows.fleet import Fleet

_SECONDS_TO_END = 5.0
"""For the summary and the recording, after a stage stopped."""
_SOURCES = ", ".join(dict.fromkeys((*SOURCES.names(), *DATASETS.names())))


@options.with_settings
def run(
    engine: Annotated[
        Path,
        typer.Argument(
            help="Engine, ONNX file or checkpoint (.safetensors), the name of a shipped network, or a release, as "
            "engines/current."
        ),
    ],
    source: Annotated[
        list[str],
        typer.Option(
            metavar="[CAMERA=]SOURCE",
            help="Camera index, video file, folder of images, URL, or NAME:PLACE, as in csi:N (with "
            "csi:N?width=1920&height=1080&fps=30), a dataset spec (camvid:DIR, ...), `synthetic` (an endless drive, "
            f"live at 30 frames per second) or `synthetic:N`; names: {_SOURCES}. Repeated: several cameras on one "
            "engine, each with a name if you like, as in front=0.",
        ),
    ],
    settings: Annotated[dict[str, Any], options.From(RunConfig)],
    limits: options.Limits,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PLACE",
            help=f"Give every processed frame to this as well; names: {', '.join(SINKS.names())}; may be repeated.",
        ),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Engines from best to lightest: a lighter one serves while deadlines are missed. ENGINE comes first.",
        ),
    ] = None,
    shadow: Annotated[
        Path | None,
        typer.Option(
            metavar="REFERENCE.onnx",
            help="Compare the engine with this network, in the background: the one it was made from.",
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    manifest: options.Manifest = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Runs an engine on a camera, and measures frames per second, frame age and mIoU.

    Frame age is the time from capture to the class map being ready. A live source that is faster than the
    engine loses its older frames, which are counted. From files no frame is lost, so there the age holds the
    time in queues; `--pace` feeds them like a camera. The engine's speed alone is measured before the loop
    starts, for comparison. Ctrl-C ends with the summary. A camera that is lost while running is opened again until it
    is back.

    A run of engines/current, where `jetseg deploy` puts its releases, ends with exit code 0 when another one is
    deployed, for its supervisor to start it again.

    Examples:

        jetseg run camvid-light --source 0 --show

        jetseg run student.int8.onnx --source drive.mp4 --output drive_segmented.mp4

        jetseg run student.int8.onnx --source camvid:data/camvid --split test --pace 30 --json

        jetseg run student.int8.onnx --source 0 --shadow student.onnx --shadow-every 60

        jetseg run student.int8.onnx --source 0 --dashboard 8080 --record drives --record-gb 50 --log logs

        jetseg run student.int8.onnx --source 0 --sink publish:tcp://127.0.0.1:5556 --sink ring:front

        jetseg run student.int8.onnx --source 0 --collect drives/label_me --collect-gb 2

        jetseg run engines/current --source 0 --wait --key /etc/jetseg/fleet.pub

        jetseg run student.int8.onnx --source front=0 --source rear=rtsp://10.0.0.7/rear --dashboard 8080
    """
    from jetseg.camera.cameras import named_sources
    from jetseg.camera.config import LoopConfig
    from jetseg.camera.stopping import StopFlag, stop_on_signals
    from jetseg.cli.bars import console
    from jetseg.cli.status_line import open_status_line
    from jetseg.monitor.events import EventLog
    from jetseg.monitor.supervisor import Supervisor
    from jetseg.workflows.cameras import open_fleet
    from jetseg.workflows.driving import open_drive

    bound = settings.get("watchdog_seconds", LoopConfig.model_fields["watchdog_seconds"].default)
    options.set_limits({**limits, "watchdog_seconds": bound})
    events, stop = EventLog(), StopFlag()
    events.listen(lambda event: say(f"{event.kind}: {event.text}"))
    lighter = [name.strip() for name in (ladder or "").split(",") if name.strip()]
    supervisor = Supervisor.take(os.environ)
    named = named_sources(source)
    drive: Drive | Fleet | None = None
    with ExitStack() as signals:  # left last: what closes files is not interrupted
        try:
            with ExitStack() as stack:
                status = stack.enter_context(open_status_line(console))
                asked: dict[str, Any] = {
                    "ladder": lighter,
                    "shadow": shadow,
                    "manifest": manifest,
                    "threads": threads,
                    "events": events,
                    "stop": stop,
                    "followers": [supervisor] if supervisor else [],
                    "key": key,
                    **settings,
                }
                if len(named) == 1:
                    sinks = [*(sink or ()), status.of()]
                    (alone,) = named.values()
                    drive = stack.enter_context(open_drive(engine, source=alone, sinks=sinks, **asked))
                else:
                    viewers = {name: [status.of(name)] for name in named}
                    asked |= {"sinks": sink or (), "viewers": viewers}
                    drive = stack.enter_context(open_fleet(engine, sources=named, **asked))
                signals.enter_context(stop_on_signals(stop))
                signals.enter_context(last_words(partial(_print_so_far, drive)))
                say(f"Running on {drive.source_names}; Ctrl-C ends.")
                drive.run(give_up=partial(_end_process, drive))
        except Exception:
            # hours of figures are worth more than a tidy screen; stdout stays free of a half result
            if drive is not None and drive.has_frames:
                _print_so_far(drive)
            raise
    result = drive.result()
    if as_json:
        print_json(rounded(result.as_dict()))
    else:
        print_run(result)
    for error in drive.errors.values():  # of a camera of several
        raise error


def _print_so_far(drive: Drive | Fleet) -> None:
    print_run(drive.result(), to_stderr=True)


def _end_process(drive: Drive | Fleet, error: StageStoppedError) -> None:
    """Ends a process in which a stage hangs, if it has not ended by itself after some seconds."""
    time.sleep(_SECONDS_TO_END)
    print_run(drive.result(), to_stderr=True)
    say(f"Error: {error}")
    os._exit(error.exit_code)
