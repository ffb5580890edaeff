"""Compares the camera loop without viewers, with a dashboard and its clients, and with Foxglove, by alternated rounds.

    python bench/dashboard.py ENGINE [--manifest FILE] [--rounds 5] [--seconds 4] [--json]

Frames come from memory as fast as the loop takes them. Overlay and statistics are on in every round, so the ratios
show what the viewers cost: encoding frames and overlays, and sending them. The clients run in another process and
need a core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from camera_loop import MemorySource, OverlayTaker

from jetseg.engine.engine import Engine
from jetseg.monitor.engine_speed import measure_engine_speed
from jetseg.provenance import device_name
from jetseg.workflows.driving import open_drive
from jetseg.workflows.opening import open_engine

CLIENTS: dict[str, list[str]] = {
    "no viewer": [],
    "dashboard, one viewer": ["viewer"],
    "dashboard, one viewer, one that never reads, one with 200 connections": [
        "viewer",
        "never-reads",
        "many-connections",
    ],
    "Foxglove, one client that takes the class maps": ["foxglove:/segmentation"],
    "Foxglove, one client that takes everything": ["foxglove:"],
}


def main() -> None:
    options = _options()
    rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
    with open_engine(options.engine, manifest=options.manifest, threads=options.threads) as engine:
        for _ in range(options.rounds):
            for name, clients in CLIENTS.items():
                rates[name].append(measure(engine, clients, options))
    without = rates["no viewer"]
    ratios = {
        name: median(rate / base for rate, base in zip(found, without, strict=True)) for name, found in rates.items()
    }
    if options.json:
        print(json.dumps({"device": device_name(), "frames_per_second": rates, "ratio_median": ratios}, indent=2))
        return
    for name, found in rates.items():
        print(f"{ratios[name]:.3f}  {median(found):6.2f} frames/s  {name}")
    print(f"{options.threads} engine thread(s); {device_name()}")


def measure(engine: Engine, clients: list[str], options: argparse.Namespace) -> float:
    """Returns the loop's rate over one round."""
    source = MemorySource(engine.manifest, options, labels=False)
    sinks: list[Any] = [OverlayTaker()]
    foxglove = any(client.startswith("foxglove") for client in clients)
    if foxglove:
        sinks.append(f"foxglove:{options.port}")
    settings = {"seconds": options.seconds, "dashboard": options.port if clients and not foxglove else None}
    speed = measure_engine_speed(engine, 0.2)
    with (
        open_drive(engine, source=source, sinks=sinks, speed=speed, **settings) as drive,
        running(clients, options.port),
    ):
        drive.run()
    return drive.statistics.rate.frames_per_second or 0.0


@contextmanager
def running(clients: list[str], port: int) -> Iterator[None]:
    """Runs clients in another process."""
    if not clients:
        yield
        return
    command = [sys.executable, str(Path(__file__).with_name("dashboard_clients.py")), str(port), *clients]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate(timeout=20)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path, help="engine or ONNX file")
    parser.add_argument("--manifest", type=Path, help="manifest, if it is not beside the file")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--width", type=int, default=960, help="of the camera's frames")
    parser.add_argument("--height", type=int, default=540)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
