"""`jetseg build-engine`: a float ONNX file in, an engine with its measured accuracy out."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jetseg.cli.artifacts import by_name
from jetseg.cli.build_result import show, summary
from jetseg.cli.calibrate import CALIBRATION_SPLIT, IMAGES, METHOD, PRESET, MethodName, PresetName
from jetseg.progress import console

if TYPE_CHECKING:
    from jetseg.engine.build_config import BuildConfig, BuildResult

OPTION = typer.Option(metavar="KEY=VALUE", help="Setting of the backend; may be repeated.")


class PrecisionName(str, Enum):
    """Names of the precisions, for the command line."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class BuildPrecisionName(str, Enum):
    """The same, with the choice left to what is measured."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"
    auto = "auto"


def build_engine(
    model: Annotated[Path, typer.Argument(help="Float ONNX file, or a kit of `jetseg pack`.", callback=by_name)],
    precision: Annotated[
        BuildPrecisionName,
        typer.Option(help="Precision of the engine; auto builds all and keeps the fastest one that passes."),
    ] = BuildPrecisionName.int8,
    out: Annotated[
        Path | None,
        typer.Option(help="Engine file; by default engines/NAME.PRECISION.SUFFIX."),
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Ranges file of `jetseg calibrate`.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Dataset to calibrate on (unless --calibration) and to measure on."),
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
    min_agreement: Annotated[
        float,
        typer.Option(min=0, max=100, help="Least percent of pixels that keep their class, if there are no labels."),
    ] = 97.0,
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
    option: Annotated[list[str] | None, OPTION] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU backend.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Builds an engine and, given data, measures it against the float network on the same frames.

    With labels that is mIoU and the IoU of each class; without, as for video:FILE, the pixels that keep their class.

    INT8 needs ranges: from --calibration FILE, or from --data SPEC, which calibrates first and keeps the ranges
    beside the engine. It is the built engine that is measured. Only where this machine cannot run it (tensorrt_rtx) is
    it judged by exact simulation, and the result says so.

    With --precision auto every precision that the backend has is built, and the fastest one that passes is kept: they
    are timed in turn on this machine.

    An engine that loses more than its budget is refused, with exit code 1: it is kept aside as NAME.rejected.onnx,
    the classes and layers to blame are named, and a page beside it, NAME.rejected.html, shows them.

    Examples:

        jetseg build-engine student.onnx --data camvid:data/camvid --out engines/student.int8.onnx

        jetseg build-engine student.onnx --precision int8 --calibration calibration/student.ranges.json

        jetseg build-engine student.onnx --data camvid:data/camvid --max-drop 0.3 --class-budget pedestrian=0.2 --auto

        jetseg build-engine student.onnx --data video:drive.mp4 --min-agreement 98

        jetseg build-engine student.onnx --precision auto --data camvid:data/camvid       # the fastest that passes

        jetseg build-engine student.onnx --backend tensorrt --data camvid:data/camvid     # on the Jetson itself

        jetseg build-engine student.kit.zip --backend tensorrt --option sparse_weights=true

        jetseg build-engine student.onnx --backend tensorrt_rtx --target sm86 --calibration student.ranges.json
    """
    from jetseg.engine.build_config import BuildConfig
    from jetseg.errors import ConfigError
    from jetseg.kit.opening import is_kit, open_kit
    from jetseg.manifest import validate_config

    config = {
        "model": model,
        "precision": "int8" if precision is BuildPrecisionName.auto else precision.value,
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
        "class_budget": pairs(class_budget or [], "--class-budget", "pedestrian=0.2"),
        "min_agreement": min_agreement,
        "keep_float": tuple(keep_float or ()),
        "sensitivity": report is not None,
        "auto": auto,
        "backend": backend,
        "manifest": manifest,
        "threads": threads,
        "options": pairs(option or [], "--option", "workspace_mb=512") | ({"target": target} if target else {}),
    }
    fastest = precision is BuildPrecisionName.auto
    if not is_kit(model):
        _build_and_tell(validate_config(BuildConfig, config), fastest=fastest, report=report, as_json=as_json)
        return
    if calibration is not None or manifest is not None:
        raise ConfigError(f"{model} is a kit, which has its own.", "Leave out --calibration and --manifest.")
    with open_kit(model) as kit:
        config |= {"model": kit.model, "calibration": kit.ranges}
        _build_and_tell(validate_config(BuildConfig, config), fastest=fastest, report=report, as_json=as_json)


def _build_and_tell(config: BuildConfig, *, fastest: bool, report: Path | None, as_json: bool) -> None:
    from jetseg.engine.build_config import EngineRejectedError

    rejection = None
    try:
        result = _build(config, fastest=fastest)
    except EngineRejectedError as error:
        result, rejection = error.result, error
    if as_json:
        sys.stdout.write(json.dumps(summary(result), indent=2) + "\n")
    else:
        show(result)
    if report and result.agreement is not None:
        console.print("No report: it compares what networks get right, and the data have no labels.", style="yellow")
    if result.accuracy is not None and (report or rejection):
        _write_report(report or result.engine.with_suffix(".html"), config, result)
    if rejection is not None:
        raise rejection


def _build(config: BuildConfig, *, fastest: bool) -> BuildResult:
    if fastest:
        from jetseg.engine.selection import run as run_contest

        return run_contest(config).result
    from jetseg.engine.build import run

    return run(config)


def pairs(given: list[str], option: str, example: str) -> dict[str, str]:
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
