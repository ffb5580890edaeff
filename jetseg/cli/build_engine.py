"""`jetseg build-engine`: a float ONNX file in, an engine with its measured accuracy out."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jetseg.cli.calibrate import CALIBRATION_SPLIT, IMAGES, METHOD, PRESET, MethodName, PresetName
from jetseg.progress import console

if TYPE_CHECKING:
    from jetseg.engine.build_config import BuildConfig, BuildResult
    from jetseg.engine.contract import BuildReport


class PrecisionName(str, Enum):
    """Names of the precisions, for the command line."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def build_engine(
    model: Annotated[Path, typer.Argument(help="Float ONNX file.")],
    precision: Annotated[PrecisionName, typer.Option(help="Precision of the engine.")] = PrecisionName.int8,
    out: Annotated[
        Path | None,
        typer.Option(help="Engine file; by default engines/NAME.PRECISION.SUFFIX."),
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Ranges file of `jetseg calibrate`.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Dataset to calibrate on (unless --calibration) and to measure accuracy on."),
    ] = None,
    split: Annotated[str, CALIBRATION_SPLIT] = "train",
    images: Annotated[int, IMAGES] = 128,
    method: Annotated[MethodName, METHOD] = MethodName.mse,
    eval_split: Annotated[str, typer.Option(help="Split to measure accuracy on, before and after.")] = "val",
    eval_frames: Annotated[
        int | None, typer.Option(min=1, help="Measure on this many frames only, spread evenly.")
    ] = None,
    preset: Annotated[PresetName, PRESET] = PresetName.accurate,
    max_drop: Annotated[float, typer.Option(min=0, help="Points of mIoU that the engine may lose.")] = 0.5,
    max_class_drop: Annotated[float, typer.Option(min=0, help="Points of IoU that each class may lose.")] = 1.0,
    class_budget: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=POINTS", help="Budget of one class; may be repeated.")
    ] = None,
    keep_float: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="Layer to keep in float; may be repeated.")
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="If the engine fails, calibrate anew, then keep the worst layers in float.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Page about what was lost and which layers lose it; a rejected engine always gets one."),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Runtime that the engine is for: onnxruntime, tensorrt or tensorrt_rtx.")
    ] = "onnxruntime",
    target: Annotated[
        str | None, typer.Option(metavar="SM", help="GPU to build for, where that is not this machine, as in sm86.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Setting of the backend; may be repeated.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Builds an engine and, given labelled data, measures it against the float network on the same frames.

    INT8 needs ranges: from --calibration FILE, or from --data SPEC, which calibrates first and keeps the ranges
    beside the engine. It is the built engine that is measured. Only where this machine cannot run it (tensorrt_rtx) is
    it judged by exact simulation, and the result says so.

    An engine that loses more than its budget is refused, with exit code 1: it is kept aside as NAME.rejected.onnx,
    the classes and layers to blame are named, and a page beside it, NAME.rejected.html, shows them.

    Examples:

        jetseg build-engine student.onnx --data camvid:data/camvid --out engines/student.int8.onnx

        jetseg build-engine student.onnx --precision int8 --calibration calibration/student.ranges.json

        jetseg build-engine student.onnx --data camvid:data/camvid --max-drop 0.3 --class-budget pedestrian=0.2 --auto

        jetseg build-engine student.onnx --precision fp32

        jetseg build-engine student.onnx --backend tensorrt --data camvid:data/camvid     # on the Jetson itself

        jetseg build-engine student.onnx --backend tensorrt_rtx --target sm86 --calibration student.ranges.json
    """
    from jetseg.engine.build_config import BuildConfig, EngineRejectedError
    from jetseg.engine.building import run
    from jetseg.manifest import validate_config

    config = {
        "model": model,
        "precision": precision.value,
        "out": out,
        "calibration": calibration,
        "data": data,
        "split": split,
        "images": images,
        "method": method.value,
        "eval_split": eval_split,
        "eval_frames": eval_frames,
        "preset": preset.value,
        "max_drop": max_drop,
        "max_class_drop": max_class_drop,
        "class_budget": _pairs(class_budget or [], "--class-budget", "pedestrian=0.2"),
        "keep_float": tuple(keep_float or ()),
        "sensitivity": report is not None,
        "auto": auto,
        "backend": backend,
        "manifest": manifest,
        "threads": threads,
        "options": _pairs(option or [], "--option", "workspace_mb=512") | ({"target": target} if target else {}),
    }
    checked = validate_config(BuildConfig, config)
    rejection = None
    try:
        result = run(checked)
    except EngineRejectedError as error:
        result, rejection = error.result, error
    if as_json:
        sys.stdout.write(json.dumps(_summary(result), indent=2) + "\n")
    else:
        _print(result)
    if result.accuracy is not None and (report or rejection):
        _write_report(report or result.engine.with_suffix(".html"), checked, result)
    if rejection is not None:
        raise rejection


def _pairs(given: list[str], option: str, example: str) -> dict[str, str]:
    """Splits NAME=VALUE; whether the value is a number is checked with the other settings."""
    from jetseg.errors import ConfigError

    pairs = {}
    for entry in given:
        name, separator, value = entry.rpartition("=")
        if not separator:
            raise ConfigError(f"{option} {entry} has no equals sign.", f"Write, for example, {option} {example}.")
        pairs[name] = value
    return pairs


def _write_report(out: Path, config: BuildConfig, result: BuildResult) -> None:
    """Writes the page about an engine, beside it unless told otherwise; without the libraries for it, says so."""
    from jetseg.cli.entries import open_entries
    from jetseg.data.specs import open_dataset
    from jetseg.errors import MissingDependencyError

    if result.report.not_run_here is not None:
        console.print("No report: it compares networks that run here.", style="yellow")
        return
    try:
        from jetseg.report.build import ReportConfig, Verdict, run
    except MissingDependencyError as error:
        console.print(f"No report: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        return
    layers = tuple((effect.layer, round(100.0 - effect.agreement, 3)) for effect in result.guilty)
    page = ReportConfig(
        out=out,
        title=f"What {result.engine.name} lost",
        frames=config.eval_frames,
        threads=config.threads,
        rounds=3,
        seconds=0.3,
    )
    with open_entries([config.model, result.engine], config.manifest, config.threads) as entries:
        run(page, entries, open_dataset(str(config.data), config.eval_split), Verdict(result.broken, layers))
    console.print(f"Report: {out}", markup=False, highlight=False, soft_wrap=True)


def _summary(result: BuildResult) -> dict[str, Any]:
    return {
        "engine": str(result.engine),
        "precision": result.manifest.precision,
        "backend": result.manifest.backend,
        "sha256": result.manifest.sha256,
        "size_bytes": result.engine.stat().st_size,
        "integer_layers": len(result.report.integer_layers),
        "float_layers": list(result.report.float_layers),
        "layer_precisions": dict(result.report.layer_precisions),
        "layer_devices": dict(result.report.layer_devices),
        "hops": dict(result.report.hops),
        "not_run_here": result.report.not_run_here,
        "parent_accuracy": result.parent_accuracy.model_dump() if result.parent_accuracy else None,
        "accuracy": result.accuracy.model_dump() if result.accuracy else None,
        "passed": not result.broken,
        "broken": list(result.broken),
        "guilty_layers": [{"layer": found.layer, "agreement": found.agreement} for found in result.guilty],
        "attempts": list(result.attempts),
    }


def _print(result: BuildResult) -> None:
    stdout = Console()
    report = result.report
    total = len(report.integer_layers) + len(report.float_layers)
    counted = f", {len(report.integer_layers)} of {total} layers on integers" if total else ""
    stdout.print(
        f"{result.engine}: {result.manifest.precision} for {result.manifest.backend}, "
        f"{result.engine.stat().st_size / 1e6:.2f} MB{counted}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if report.layer_precisions:
        listed = ", ".join(f"{count} in {precision}" for precision, count in report.layer_precisions.items())
        stdout.print(f"Layers of the engine: {listed}{_places(result.report)}", markup=False, highlight=False)
    before, after = result.parent_accuracy, result.accuracy
    if report.not_run_here is not None:
        predicted = " The accuracy below is predicted by exact simulation, not measured on it." if after else ""
        stdout.print(f"{report.not_run_here}{predicted}", style="yellow", markup=False, soft_wrap=True)
    if before is not None and after is None:
        stdout.print("Nothing here computes this precision, so its accuracy was not measured.", style="yellow")
        return
    if before is None or after is None:
        stdout.print("Accuracy was not measured; give --data SPEC with labels to measure it.", style="yellow")
        return
    table = Table(title=f"IoU % on {after.data} {after.split}, {after.frames} frames", title_justify="left")
    for heading in ("class", "float", result.manifest.precision, "change"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, iou in after.per_class_iou.items():
        table.add_row(name, *_change(before.per_class_iou[name], iou))
    table.add_section()
    table.add_row("mIoU", *_change(before.miou, after.miou), style="bold")
    stdout.print(table)
    if result.guilty:
        blame = Table(title="Each layer alone in 8 bits", title_justify="left")
        blame.add_column("layer")
        blame.add_column("pixels that keep their class %", justify="right")
        for effect in result.guilty[:8]:
            blame.add_row(effect.layer, f"{effect.agreement:.2f}")
        stdout.print(blame, markup=False)
    for attempt in result.attempts if len(result.attempts) > 1 else ():
        stdout.print(attempt, markup=False, highlight=False, soft_wrap=True)


def _places(report: BuildReport) -> str:
    """Says where layers run if not all are on the GPU, and how often the data is changed or moved."""
    devices = ", ".join(f"{count} on the {device}" for device, count in report.layer_devices.items())
    where = f"; {devices}, {report.hops['device']} hops between them" if "DLA" in report.layer_devices else ""
    return f"{where}; {report.hops['format']} change formats" if report.hops else where


def _change(before: float | None, after: float | None) -> tuple[str, str, str]:
    if before is None or after is None:
        return "-", "-", "-"
    return f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"
