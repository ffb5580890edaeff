"""`jetseg build-engine`: a float ONNX file in, an engine with its measured accuracy out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.build_result import show, summary
from jetseg.cli.output import print_json
from jetseg.engine.config import BuildConfig


@options.with_settings
def build_engine(
    model: Annotated[Path, typer.Argument(help="Float ONNX file, or a kit of `jetseg pack`.")],
    settings: Annotated[dict[str, Any], options.From(BuildConfig)],
    limits: options.Limits,
    out: Annotated[Path | None, typer.Option(help="Engine; by default engines/NAME.PRECISION.SUFFIX.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Ranges file of `jetseg calibrate`.")] = None,
    data: options.Data = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Page about what was lost and which layers lose it; a rejected engine always gets one."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="SM", help="GPU to build for, where that is not this machine, as in sm86.")
    ] = None,
    manifest: options.Manifest = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Builds an engine and, given data, measures it against the float network on the same frames.

    With labels that is mIoU and the IoU of each class; without, as for video:FILE, the pixels that keep their class.

    INT8 needs ranges: from --calibration FILE, or from --data SPEC, which calibrates first and keeps the ranges
    beside the engine. It is the built engine that is measured. Only where this machine cannot run it (tensorrt_rtx) is
    it judged by exact simulation, and the result says so.

    An int8 engine is compared with float: layers that are faster in float are in float, and where 8 bits gain nothing
    at all, the float engine is handed over, and the result says so. --force gives the int8 engine all the same.

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

        jetseg build-engine student.onnx --backend auto --precision auto --data camvid:data/camvid   # of any runtime

        jetseg build-engine student.onnx --backend litert --data camvid:data/camvid       # a .tflite file

        jetseg build-engine student.onnx --backend tensorrt --data camvid:data/camvid     # on the Jetson itself

        jetseg build-engine student.kit.zip --backend tensorrt --option sparse_weights=true

        jetseg build-engine student.onnx --backend tensorrt_rtx --target sm86 --calibration student.ranges.json
    """
    from jetseg.engine.result import EngineRejectedError
    from jetseg.errors import ConfigError
    from jetseg.kit.opening import is_kit
    from jetseg.kit.signature import key_in_force
    from jetseg.kit.signed import open_driven
    from jetseg.workflows.building import build_engine

    options.set_limits(limits)
    if target is not None:
        settings["options"] = {**settings.get("options", {}), "target": target}
    kit = is_kit(model)
    if kit and manifest is not None:
        raise ConfigError(f"{model} is a kit, which has its own manifest.", "Leave out --manifest.")
    network = model if kit else open_driven(model, manifest, key_in_force(key))
    rejection = None
    try:
        result = build_engine(network, ranges=calibration, data=data, out=out, report=report, key=key, **settings)
    except EngineRejectedError as error:
        result, rejection = error.result, error
    if as_json:
        print_json(summary(result))
    else:
        show(result)
    if rejection is not None:
        raise rejection
