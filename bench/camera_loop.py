"""Compares the camera loop with the bare engine by alternated rounds, and measures frame age on a live feed.

    python bench/camera_loop.py ENGINE [--manifest FILE] [--rounds 5] [--seconds 4] [--json]
    python bench/camera_loop.py --made-up 2.5 --width 1920 --height 1080

Throughput: frames come from memory as fast as the loop takes them, so the ratio shows what the loop itself
costs: resizing, normalizing, argmax, hand-over between threads and, with --full, overlay and mIoU. Each round
of the loop lies between two measurements of the bare engine and is compared with their mean. Frame age: the
same frames as a live camera of --pace frames per second; its floor is one pass through the engine, and its p99
should stay below that plus two frame intervals.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from jetseg.camera.config import LoopConfig
from jetseg.camera.contract import FrameResult, Source, SourceFrame
from jetseg.camera.loop import new_statistics, run_loop
from jetseg.camera.sources.paced import PacedSource
from jetseg.engine.engine import Engine
from jetseg.engine.lending import Lending
from jetseg.manifest import Manifest
from jetseg.monitor.engine_speed import EngineSpeed, measure_engine_speed
from jetseg.monitor.statistics import LoopStatistics
from jetseg.provenance import device_name, toolchain
from jetseg.workflows.opening import open_engine

_MADE_UP = {"classes": [f"class{number}" for number in range(11)], "input": {"height": 360, "width": 480}}


def main() -> None:
    options = _options()
    with bench_engine(options) as engine:
        throughput = measure_throughput(engine, options)
        live = measure_live(engine, options)
    result = {
        "engine": options.engine.name if options.engine else f"made up, {options.made_up:g} ms",
        "device": device_name(),
        "toolchain": toolchain(),
        "engine_threads": options.threads,
        "frame_size": f"{options.width}x{options.height}",
        "overlay_and_miou": options.full,
        **throughput,
        "live": live,
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)


def measure_throughput(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the rates of each round and the ratio of the loop's to the bare engine's."""
    bare = [measure_engine_speed(engine, options.seconds / 2)]
    loops: list[LoopStatistics] = []
    for _ in range(options.rounds):
        frames = max(30, round(options.seconds * (bare[-1].frames_per_second or 1)))
        source = MemorySource(engine.manifest, options, labels=options.full)
        loops.append(drive(engine, source, bare[-1], LoopConfig(frames=frames), full=options.full))
        bare.append(measure_engine_speed(engine, options.seconds / 2))
    rates = [loop.rate.frames_per_second or 0.0 for loop in loops]
    beside = [
        ((before.frames_per_second or 0.0) + (after.frames_per_second or 0.0)) / 2 for before, after in pairwise(bare)
    ]
    ratios = [rate / alone for rate, alone in zip(rates, beside, strict=True)]
    return {
        "loop_frames_per_second": rates,
        "engine_frames_per_second": [speed.frames_per_second for speed in bare],
        "ratio_median": median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "stage_p50_ms": {
            stage: median(loop.summary().stage_ms[stage].p50 for loop in loops) for stage in loops[0].summary().stage_ms
        },
    }


def measure_live(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Returns frame age and dropped frames on a paced feed."""
    source = PacedSource(MemorySource(engine.manifest, options, labels=options.full), options.pace)
    speed = measure_engine_speed(engine, options.seconds / 2)
    config = LoopConfig(seconds=max(options.seconds, 3.0))
    summary = drive(engine, source, speed, config, full=options.full).summary()
    age = summary.frame_age_ms
    engine_ms = 1e3 / (speed.frames_per_second or 1)
    bound_ms = 2 * 1e3 / options.pace + engine_ms
    return {
        "pace": options.pace,
        "frames": summary.frames,
        "captured": summary.captured,
        "dropped": summary.dropped,
        "frames_per_second": summary.frames_per_second,
        "engine_ms": engine_ms,
        "frame_age_ms": asdict(age) if age else None,
        "worst_frame_age_ms": summary.worst_frame_age_ms,
        "frame_age_bound_ms": bound_ms,
        "p99_of_bound": age.p99 / bound_ms if age else None,
    }


def drive(engine: Engine, source: Source, speed: EngineSpeed, config: LoopConfig, *, full: bool) -> LoopStatistics:
    """Runs the loop with an engine speed that was measured already."""
    statistics = new_statistics(engine, source, engine=speed)
    return run_loop(config, engine, source, [OverlayTaker()] if full else [], statistics=statistics)


@dataclass
class _Buffer:
    host: npt.NDArray[np.float32]


class MadeUpRunner:
    """An engine on a device of its own, which takes a fixed time and none of the processor; lends its outputs."""

    def __init__(self, milliseconds: float) -> None:
        self.manifest = Manifest.model_validate(_MADE_UP)
        self._seconds = milliseconds / 1e3
        spec = self.manifest.input
        shape = (2, 1, self.manifest.num_classes, spec.height, spec.width)
        scores = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        self._outputs = Lending(*map(_Buffer, scores))

    def infer(self, _: Any) -> Any:
        """Waits, and gives scores."""
        time.sleep(self._seconds)
        self._outputs.choose()
        return self._outputs.lend()

    def close(self) -> None:
        """Holds nothing."""


class OverlayTaker:
    """A sink that asks for the overlay and does nothing with it."""

    wants_overlay = True

    def write(self, result: FrameResult) -> None:
        """Takes a frame."""


class MemorySource(Source):
    """Endlessly repeats a few drawn frames that lie in memory."""

    name = "memory"

    def __init__(self, manifest: Manifest, options: argparse.Namespace, *, labels: bool) -> None:
        self.size_hw = (options.height, options.width)
        self.classes = manifest.classes if labels else None
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (8, 12, 16, 3), dtype=np.uint8)
        self._images = [cv2.resize(picture, self.size_hw[::-1]) for picture in coarse]
        self._label = rng.integers(0, manifest.num_classes, self.size_hw, dtype=np.uint8) if labels else None
        self._sequence = 0

    def read(self) -> SourceFrame:
        """Gives the next frame at once."""
        sequence = self._sequence
        self._sequence += 1
        image = self._images[sequence % len(self._images)]
        return SourceFrame(sequence, str(sequence), perf_counter(), image, self._label)


def bench_engine(options: argparse.Namespace) -> Engine:
    if options.made_up is not None:
        return Engine(MadeUpRunner(options.made_up))
    return open_engine(options.engine, manifest=options.manifest, threads=options.threads)


def _print(result: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{result['engine']}, frames {result['frame_size']}", title_justify="left")
    for title in ("", "frames/s (median)", "ratio (min..max)"):
        table.add_column(title)
    table.add_row("engine alone", f"{median(result['engine_frames_per_second']):.2f}", "1")
    spread = f"{result['ratio_median']:.3f} ({result['ratio_min']:.3f}..{result['ratio_max']:.3f})"
    table.add_row("loop", f"{median(result['loop_frames_per_second']):.2f}", spread)
    console.print(table)
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in result["stage_p50_ms"].items())
    console.print(f"stages, p50 ms: {stages}", highlight=False)
    live = result["live"]
    age = " / ".join(f"{value:.1f}" for value in live["frame_age_ms"].values())
    console.print(
        f"live at {live['pace']:.0f} frames per second: {live['frames']} of {live['captured']} frames, "
        f"{live['dropped']} dropped; frame age p50 / p95 / p99 {age} ms, "
        f"engine alone {live['engine_ms']:.1f} ms",
        highlight=False,
    )
    console.print(
        f"frame age p99 is {live['p99_of_bound']:.2f} of 2 frame intervals plus one pass of the engine "
        f"({live['frame_age_bound_ms']:.1f} ms)",
        highlight=False,
    )
    console.print(f"{result['engine_threads']} engine thread(s); {result['device']}", style="dim", highlight=False)


def bench_parser(document: str | None, *, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """Makes what reads the options that every benchmark of the loop has; see `bench_engine`, `MemorySource`."""
    parser = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    engine = parser.add_mutually_exclusive_group(required=True)
    engine.add_argument("engine", type=Path, nargs="?", help="engine or ONNX file")
    engine.add_argument("--made-up", type=float, metavar="MS", help="instead of one, something that takes this time")
    parser.add_argument("--manifest", type=Path, help="manifest, if it is not beside the file")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="length of one round of the loop")
    parser.add_argument("--pace", type=float, default=30.0, help="frames per second of a live camera")
    parser.add_argument("--width", type=int, default=960, help="of a camera's frames")
    parser.add_argument("--height", type=int, default=540)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _options() -> argparse.Namespace:
    parser = bench_parser(__doc__, rounds=5, seconds=4.0)
    parser.add_argument("--full", action="store_true", help="with overlay and mIoU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
