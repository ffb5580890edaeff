"""`jetseg export`: checkpoint to ONNX."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

CHECKPOINT = typer.Argument(metavar="CKPT", help="Checkpoint (.safetensors) to export.")
OUT = typer.Option(help="ONNX file to write, by default CKPT with the suffix `.onnx`; or NAME.engine.")
HEAD = typer.Option(help="What comes out: logits, or classmap for uint8 class ids.")
INPUT = typer.Option("--input", help="What goes in: normalized floats, or frame for uint8 pixels.")
DATA = typer.Option(metavar="SPEC", help="Dataset to compare torch and ONNX on; random images by default.")
PARITY_FRAMES = typer.Option(help="Number of frames to compare on.")


def export(
    checkpoint: Annotated[Path, CHECKPOINT],
    out: Annotated[Path | None, OUT] = None,
    head: Annotated[str, HEAD] = "logits",
    input_kind: Annotated[str, INPUT] = "normalized",
    height: Annotated[int | None, typer.Option(help="Input height; by default the checkpoint's.")] = None,
    width: Annotated[int | None, typer.Option(help="Input width; by default the checkpoint's.")] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset, 18 or newer.")] = 18,
    data: Annotated[str | None, DATA] = None,
    split: Annotated[str, typer.Option(help="Split of --data.")] = "val",
    parity_frames: Annotated[int, PARITY_FRAMES] = 4,
    precision: Annotated[str, typer.Option(help="Of an engine: fp32 or fp16.")] = "fp16",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Exports a network to one ONNX file and proves that ONNX Runtime computes what torch computes.

    Batch 1 and static shapes; weights inside the file; input `image`, output `logits` or `classmap`. Without
    parity no file is written and the exit code is 1.

    Examples:

        jetseg export student.safetensors --out student.onnx --data camvid:data/camvid

        jetseg export student.safetensors --out student.onnx --head classmap --input frame

    With `--out NAME.engine`, torch-tensorrt converts the checkpoint to a TensorRT engine on this device, without
    ONNX between and without parity; `jetseg eval` measures it. It was never run on a device.
    """
    if out is not None and out.suffix == ".engine":
        _export_plan(checkpoint, out, head, input_kind, precision)
        return
    from jetseg.config import validate_config
    from jetseg.export.onnx_export import ExportConfig, run
    from jetseg.onnx.cost import onnx_cost

    values = {
        "checkpoint": checkpoint,
        "out": out or checkpoint.with_suffix(".onnx"),
        "head": head,
        "input": input_kind,
        "height": height,
        "width": width,
        "opset": opset,
        "data": data,
        "split": split,
        "parity_frames": parity_frames,
    }
    result = run(validate_config(ExportConfig, values))
    cost = onnx_cost(result.path)
    parity = result.manifest.parity
    content = {
        "onnx": str(result.path),
        "size_bytes": result.path.stat().st_size,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "parity": None if parity is None else parity.model_dump(),
    }
    if as_json:
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    console = Console()
    for key, value in content.items():
        console.print(f"{key:<12} {value}", highlight=False, markup=False, soft_wrap=True)


def _export_plan(checkpoint: Path, out: Path, head: str, input_kind: str, precision: str) -> None:
    from jetseg.config import validate_config
    from jetseg.export.torch_tensorrt import PlanConfig, run

    values = {"checkpoint": checkpoint, "out": out, "head": head, "input": input_kind, "precision": precision}
    result = run(validate_config(PlanConfig, values))
    line = f"{result.path}: {result.manifest.precision} for {result.manifest.device}, not measured"
    Console().print(line, highlight=False, markup=False, soft_wrap=True)
