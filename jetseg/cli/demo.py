"""`jetseg demo`: the whole job on drawn road scenes, in minutes, on any computer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli.bars import console as log
from jetseg.cli.output import print_lines, print_table

if TYPE_CHECKING:
    from jetseg.monitor.statistics import LoopSummary
    from jetseg.report.build import ReportResult

_DATA = "synthetic"
_TEST_DRIVE = "synthetic:120"
_CALIBRATION_FRAMES = 64
_CAMERA_FRAMES_PER_SECOND = 30.0
_TRAINING: dict[str, Any] = {
    "data": _DATA,
    "frames": 300,
    "crop_height": 128,
    "crop_width": 128,
    "batch_size": 4,
    "augment": {"scale": [0.75, 1.5]},
    "class_weights": "enet",
    "dice_weight": 1.0,
    "validate_every": 10,
    "resume": False,
}
_TEACHER: dict[str, Any] = {"model": "tiny", "model_options": {"width": 16}, "epochs": 26, "lr": 6e-3}
_STUDENT: dict[str, Any] = {"model": "tiny", "model_options": {"width": 12}, "epochs": 28, "lr": 1e-2}
_FINE_TUNING: dict[str, Any] = {"epochs": 9, "lr": 5e-3}
_DISTILLING: dict[str, Any] = {"kd_weight": 1.0, "temperature": 1.0, "cwd_weight": 1.0}
_PRUNING: dict[str, Any] = {"criterion": "taylor", "ratio": 0.3, "scope": "layer", "round_to": 8, "batches": 8}


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything that is made.")] = Path("runs/demo"),
) -> None:
    """Runs the whole job on drawn road scenes: train, distill, prune, INT8, camera loop, report.

    It needs no data and no GPU. A teacher is trained and a smaller student distilled from it; the student is
    pruned, fine-tuned, exported, calibrated and built as an INT8 engine, which then drives a labelled camera
    feed. Each step is also a verb of its own; see `jetseg --help`.

    Examples:

        jetseg demo

        jetseg demo --out /tmp/demo
    """
    from jetseg.workflows.comparing import write_report

    started = time.perf_counter()
    networks = _compress(_train(out), out)
    with _step("camera", "drives a labelled 30 fps camera feed with the INT8 engine (`jetseg run`)"):
        loop = _drive(networks["int8"], out / "drive.mp4")
    with _step("report", "measures all of them on the test drive (`jetseg report`)"):
        files, page = list(networks.values()), out / "report.html"
        report = write_report(files, data=_TEST_DRIVE, split="test", out=page, title="jetseg demo", threads=1)
    _print(report, loop, out, time.perf_counter() - started)


def _train(out: Path) -> dict[str, Path]:
    """Trains teacher and student, prunes and fine-tunes; returns a checkpoint by name."""
    from jetseg.workflows.pruning import prune
    from jetseg.workflows.training import train

    with _step("teacher", "trains (`jetseg train`)"):
        teacher = train(**_TRAINING, **_TEACHER, out=out / "teacher").best
    with _step("student", "learns from the teacher's soft labels (`jetseg distill`)"):
        student = train(**_TRAINING, **_STUDENT, out=out / "student", teacher=teacher, distill=_DISTILLING).best
    with _step("pruned", "loses channels, and is fine-tuned under the teacher (`jetseg prune`)"):
        cut = prune(student, out=out / "pruned.safetensors", data=_DATA, **_PRUNING).checkpoint
        pruned = train(**_TRAINING, **_FINE_TUNING, out=out / "pruned", init=cut, teacher=teacher).best
    return {"teacher": teacher, "student": student, "pruned": pruned}


def _compress(checkpoints: dict[str, Path], out: Path) -> dict[str, Path]:
    """Exports the checkpoints and builds the INT8 engine of the last one; returns ONNX files by name."""
    from jetseg.workflows.building import build_engine
    from jetseg.workflows.calibration import calibrate
    from jetseg.workflows.exporting import export

    networks = {}
    with _step("export", "writes ONNX files: camera frame in, class map out (`jetseg export`)"):
        for name, checkpoint in checkpoints.items():
            place = out / f"{name}.onnx"
            networks[name] = export(checkpoint, out=place, data=_DATA, head="classmap", input="frame").network.path
    with _step("int8", "calibrates and builds (`jetseg calibrate`, `jetseg build-engine`)"):
        place = out / "pruned.ranges.json"
        ranges = calibrate(networks["pruned"], data=_DATA, images=_CALIBRATION_FRAMES, out=place)
        place = out / "pruned.int8.onnx"
        networks["int8"] = build_engine(
            ranges.network, ranges=ranges, data=_DATA, out=place, force=True, estimate=False
        ).path
    return networks


def _drive(engine: Path, video: Path) -> LoopSummary:
    """Runs the camera loop over the test drive; returns its figures."""
    from jetseg.cli.status_line import open_status_line
    from jetseg.workflows.driving import run_camera

    pace = _CAMERA_FRAMES_PER_SECOND
    with open_status_line(log) as status:
        found = run_camera(
            engine,
            source=_TEST_DRIVE,
            split="test",
            pace=pace,
            output=video,
            sinks=[status.of()],
            threads=1,
            drift=False,
        )
    return found.summary


@contextmanager
def _step(name: str, text: str) -> Iterator[None]:
    """Announces a step and says how long it took."""
    print_lines(f"\n{name}: {text}", style="bold", console=log)
    started = time.perf_counter()
    yield
    print_lines(f"{name}: {time.perf_counter() - started:.0f} s", style="dim", console=log)


def _print(report: ReportResult, loop: LoopSummary, out: Path, seconds: float) -> None:
    from jetseg.report.table import headline_table

    print_table(headline_table(report.rows, "The test drive, each network alone on one thread"))
    age, rate = loop.frame_age_ms, loop.frames_per_second
    if age is not None and rate is not None and loop.miou is not None:
        print_lines(
            f"Camera loop: {rate:.1f} frames per second, frame age p50 {age.p50:.0f} ms, p99 {age.p99:.0f} ms, "
            f"{loop.dropped} dropped, mIoU {loop.miou:.2f} %"
        )
    for title, path in (("Report", report.path), ("Video", out / "drive.mp4"), ("Engine", out / "pruned.int8.onnx")):
        print_lines(f"{title}: {path}")
    print_lines(f"{seconds / 60:.1f} minutes", style="dim")
