"""Compares several cameras on one engine with the engine alone, and shows how fair their turns are.

    python bench/fleet.py ENGINE [--cameras 4] [--source VIDEO ...] [--rounds 3] [--seconds 6] [--json]
    python bench/fleet.py --made-up 10 --cameras 4

Frames come from memory as fast as the loops take them, or from the given sources, each anew. A round lies between two
measurements of the bare engine and is compared with their mean. Fairness: the largest p99 of the frame age of one
camera over the smallest, without loss (`queued`) and as live cameras of --pace frames per second.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from typing import Any

from camera_loop import MemorySource, bench_engine, bench_parser

from jetseg.camera.contract import Source
from jetseg.camera.sources.paced import PacedSource
from jetseg.engine.engine import Engine
from jetseg.monitor.engine_speed import measure_engine_speed
from jetseg.provenance import device_name, toolchain
from jetseg.workflows.cameras import run_cameras
from jetseg.workflows.fleet import FleetResult


def main() -> None:
    options = _options()
    with bench_engine(options) as engine:
        queued = [measure_round(engine, options, pace=None) for _ in range(options.rounds)]
        live = [measure_round(engine, options, pace=options.pace) for _ in range(options.rounds)]
    result = {
        "engine": options.engine.name if options.engine else f"made up, {options.made_up:g} ms",
        "device": device_name(),
        "toolchain": toolchain(),
        "cameras": options.cameras,
        "frame_size": f"{options.width}x{options.height}",
        "ratio_median": median(found["ratio"] for found in queued),
        "queued": queued,
        "live": live,
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['engine']}, {options.cameras} cameras, frames {result['frame_size']}; {result['device']}")
    for name, rounds in (("queued", queued), ("live", live)):
        for found in rounds:
            ages = " ".join(f"{age:.1f}" for age in found["age_p99_ms"])
            print(
                f"{name:7} {found['frames_per_second']:.1f} of {found['engine_frames_per_second']:.1f} frames/s "
                f"({found['ratio']:.3f}); age p99 {ages} ms, largest over smallest {found['age_p99_spread']:.2f}"
            )
    print(f"ratio of the rate, queued, median: {result['ratio_median']:.3f}")


def measure_round(engine: Engine, options: argparse.Namespace, *, pace: float | None) -> dict[str, Any]:
    """Returns the rate of all cameras together, and how far their ages lie apart."""
    before = measure_engine_speed(engine, options.seconds / 2)
    sources: dict[str, Source | str] = {}
    for number in range(options.cameras):
        memory = MemorySource(engine.manifest, options, labels=False)
        given = options.source[number % len(options.source)] if options.source else None
        sources[f"camera{number + 1}"] = given or (memory if pace is None else PacedSource(memory, pace))
    limits = {"pace": pace} if options.source and pace is not None else {}
    found: FleetResult = run_cameras(
        engine, sources=sources, speed=before, seconds=options.seconds, drift=False, estimate=False, **limits
    )
    after = measure_engine_speed(engine, options.seconds / 2)
    alone = ((before.frames_per_second or 0.0) + (after.frames_per_second or 0.0)) / 2
    ages = [age.p99 for camera in found.cameras.values() if (age := camera.summary.frame_age_ms)]
    return {
        "frames_per_second": found.frames_per_second,
        "engine_frames_per_second": alone,
        "ratio": (found.frames_per_second or 0.0) / alone,
        "frames": [camera.summary.frames for camera in found.cameras.values()],
        "age_p99_ms": ages,
        "age_p99_spread": max(ages) / min(ages),
    }


def _options() -> argparse.Namespace:
    parser = bench_parser(__doc__, rounds=3, seconds=6.0)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--source", action="append", help="instead of frames in memory; several are used in turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
