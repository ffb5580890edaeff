"""`jetseg export`: checkpoint to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.exporters.config import ExportConfig, PlanConfig

if TYPE_CHECKING:
    from jetseg.exporters.onnx_export import ExportResult


@options.with_settings
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to export.")],
    settings: Annotated[dict[str, Any], options.From(ExportConfig)],
    plan: Annotated[dict[str, Any], options.From(PlanConfig)],
    out: Annotated[
        Path | None,
        typer.Option(help="ONNX file to write, by default CKPT with the suffix `.onnx`; or NAME.engine."),
    ] = None,
    data: options.Data = None,
    as_json: options.AsJson = False,
) -> None:
    """Exports a network to one ONNX file and proves that ONNX Runtime computes what torch computes.

    Batch 1 and static shapes; weights inside the file; input `image`, output `logits` or `classmap`. Without
    parity no file is written and the exit code is 1. Torch and ONNX are compared on --data, or on random images.

    Examples:

        jetseg export student.safetensors --out student.onnx --data camvid:data/camvid

        jetseg export student.safetensors --out student.onnx --head classmap --input frame

    With `--out NAME.engine`, torch-tensorrt converts the checkpoint to a TensorRT engine on this device, without
    ONNX between. Its graph, in the precision that was asked for, is compared with the network before; the engine
    itself is not run, `jetseg eval` measures it. It was never run on a device.
    """
    from jetseg.workflows.exporting import PLAN_SUFFIX, export

    is_plan = out is not None and out.suffix == PLAN_SUFFIX
    result = export(checkpoint, out=out, data=data, **(plan if is_plan else settings))
    if as_json:
        print_json(_summary(result))
    elif is_plan:
        layers = ", ".join(f"{count} layers in {precision}" for precision, count in result.layers.items())
        print_lines(f"{result.path}: {layers}, for {result.manifest.device}, not measured")
    else:
        print_lines(*(f"{key:<12} {value}" for key, value in _summary(result).items()))


def _summary(result: ExportResult) -> dict[str, Any]:
    if result.manifest.kind == "engine":
        size_bytes = result.path.stat().st_size
        return {"engine": str(result.path), "size_bytes": size_bytes, "layers": dict(result.layers)}
    from jetseg.onnx.cost import onnx_cost

    cost, parity = onnx_cost(result.path), result.manifest.parity
    return {
        "onnx": str(result.path),
        "size_bytes": result.path.stat().st_size,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "parity": None if parity is None else parity.model_dump(),
    }
