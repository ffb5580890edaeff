"""`jetseg latency-test`: from glass to mask."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jetseg.cli import options
from jetseg.cli.output import figure, print_json, print_lines
from jetseg.cli.run_summary import rounded, say

if TYPE_CHECKING:
    from jetseg.workflows.latency_testing import LatencyTest

_BINS, _WIDTH = 16, 50


@options.with_settings
def latency_test(
    engine: Annotated[
        Path, typer.Argument(help="Engine, ONNX file or checkpoint (.safetensors), or the name of a shipped network.")
    ],
    source: Annotated[str, typer.Option(metavar="SOURCE", help="The camera, as for `jetseg run`.")],
    seconds: Annotated[float, typer.Option(min=1, help="Length of the test.")] = 10.0,
    window: Annotated[
        bool, typer.Option(help="Show the clock on this machine's screen; not where the source shows one already.")
    ] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    manifest: options.Manifest = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Measures what a vehicle feels: a clock on the screen, filmed by the camera, until the class map of that frame.

    Point the camera at the screen of this machine, so that the clock (a QR code) fills a third of the picture. The
    latency holds the screen's own delay, exposure, encoder, network, decoder, queues and the engine; the frame age that
    `jetseg run` tells lacks what lies before its beginning, and how much that is comes out too.

    Examples:

        jetseg latency-test camvid-light --source 0

        jetseg latency-test student.int8.onnx --source rtsp://10.0.0.7/front --seconds 30 --json
    """
    from jetseg.camera.stopping import StopFlag, stop_on_signals
    from jetseg.monitor.events import EventLog
    from jetseg.workflows.latency_testing import measure_glass_to_mask

    events, stop = EventLog(), StopFlag()
    events.listen(lambda event: say(f"{event.kind}: {event.text}"))
    with stop_on_signals(stop):
        found = measure_glass_to_mask(
            engine,
            source=source,
            seconds=seconds,
            window=window,
            manifest=manifest,
            threads=threads,
            key=key,
            stop=stop,
            events=events,
        )
    if as_json:
        summary = {
            "glass_to_mask_ms": asdict(found.glass_to_mask),
            "frame_age_ms": asdict(found.frame_age),
            "frame_age_since": found.frame_age_since,
            "unseen_ms": found.unseen_ms,
            "frames": found.frames,
            "frames_read": len(found.glass_to_mask_ms),
        }
        print_json({**rounded(summary), "latencies_ms": [round(value, 1) for value in found.glass_to_mask_ms]})
    else:
        print_lines(*_lines(found))


def _lines(found: LatencyTest) -> list[str]:
    whole, age = found.glass_to_mask, found.frame_age
    return [
        f"The clock could be read on {len(found.glass_to_mask_ms)} of {found.frames} frames.",
        f"glass to mask: {_triple(whole.p50, whole.p95, whole.p99)} ms (p50 / p95 / p99)",
        f"frame age since {found.frame_age_since}: {_triple(age.p50, age.p95, age.p99)} ms",
        f"before the age begins: {figure(found.unseen_ms, 1)} ms (median)",
        "",
        *_histogram(found.glass_to_mask_ms),
    ]


def _triple(*values: float) -> str:
    return " / ".join(figure(value, 1) for value in values)


def _histogram(values: tuple[float, ...]) -> list[str]:
    """Draws how often which latency occurred."""
    counts, edges = np.histogram(values, bins=_BINS)
    most = counts.max()
    return [
        f"{low:7.1f} to {high:7.1f} ms  {'#' * round(_WIDTH * count / most)} {count}"
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    ]
