"""`jetseg distill`: trains a small network to imitate a large one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import training as t
from jetseg.errors import ConfigError


def distill(
    teacher: Annotated[Path | None, typer.Option(help="Checkpoint or ONNX file to imitate.", metavar="FILE")] = None,
    teacher_manifest: Annotated[
        Path | None, typer.Option(help="The teacher's manifest, if it is not beside it.", metavar="FILE")
    ] = None,
    kd_weight: Annotated[float | None, typer.Option(help="Weight of the soft labels [1].")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the soft labels [2].")] = None,
    cwd_weight: Annotated[float | None, typer.Option(help="Weight of the channel-wise loss [0].")] = None,
    cwd_temperature: Annotated[float | None, typer.Option(help="Temperature of the channel-wise loss [4].")] = None,
    dist_weight: Annotated[float | None, typer.Option(help="Weight of DIST, probabilities' correlation [0].")] = None,
    relation_weight: Annotated[
        float | None, typer.Option(help="Weight of CIRKD, which pixels have similar features [0].")
    ] = None,
    mimic_weight: Annotated[float | None, typer.Option(help="Weight of the features themselves [0].")] = None,
    data: t.Data = None,
    model: t.Model = None,
    out: t.Out = None,
    epochs: t.Epochs = None,
    batch_size: t.BatchSize = None,
    lr: t.Lr = None,
    optimizer: t.OptimizerName = None,
    height: t.Height = None,
    width: t.Width = None,
    crop_height: t.CropHeight = None,
    crop_width: t.CropWidth = None,
    class_weights: t.ClassWeights = None,
    model_option: t.ModelOption = None,
    init: t.Init = None,
    weights: t.Weights = None,
    frames: t.Frames = None,
    seed: t.Seed = None,
    workers: t.Workers = None,
    accelerator: t.Accelerator = None,
    devices: t.Devices = None,
    precision: t.FabricPrecision = None,
    resume: t.Resume = None,
    config: t.Config = None,
    set_: t.Set = None,
    as_json: t.AsJson = False,
) -> None:
    """Trains a student on labels and on a teacher's opinion of the same crops.

    Needs --teacher, --data and --out. Teacher and student must have the same classes in the same order;
    sizes, colors and normalization may differ. An ONNX teacher with a fixed input size sees the crops resized
    to it, so crops of that size are exact. --relation-weight and --mimic-weight compare features, and need a
    checkpoint as the teacher; --set distill.student_layer and distill.teacher_layer say which. Everything else
    is as in `jetseg train`.

    Examples:

        jetseg distill --teacher runs/big/best.safetensors --model tiny --data synthetic --out runs/student

        jetseg distill --teacher big.onnx --model unet --data camvid:data/camvid --cwd-weight 3 --out runs/b
    """
    given: dict[str, Any] = {key: value for key, value in locals().items() if key not in _LOSS}
    losses = {key: value for key, value in locals().items() if key in _LOSS and value is not None}
    given["set_"] = [f"distill.{key}={value}" for key, value in losses.items()] + (set_ or [])
    settings = t.make_config(given)
    if settings.teacher is None:
        raise ConfigError("There is no teacher to learn from.", "Give --teacher FILE, or use `jetseg train`.")
    from jetseg.train.loop import run

    t.print_result(settings, run(settings), as_json=as_json)


_LOSS = frozenset(
    {"kd_weight", "temperature", "cwd_weight", "cwd_temperature", "dist_weight", "relation_weight", "mimic_weight"}
)
