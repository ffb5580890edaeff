"""`jetseg distill`: trains a small network to imitate a large one."""

from __future__ import annotations

from typing import Annotated, Any

from jetseg.cli import options
from jetseg.cli.settings_file import Config, Set
from jetseg.cli.train import show, training_settings
from jetseg.errors import ConfigError
from jetseg.training.config import DistillConfig, TrainConfig


@options.with_settings
def distill(
    settings: Annotated[dict[str, Any], options.From(TrainConfig)],
    losses: Annotated[dict[str, Any], options.From(DistillConfig)],
    config: Config = None,
    set_: Set = None,
    as_json: options.AsJson = False,
) -> None:
    """Trains a student on labels and on a teacher's answers for the same crops.

    Needs --teacher, --data and --out. Teacher and student must have the same classes in the same order;
    sizes, colors and normalization may differ. An ONNX teacher with a fixed input size sees the crops resized
    to it, so crops of that size are exact. --relation-weight and --mimic-weight compare features, and need a
    checkpoint as the teacher; --student-layer and --teacher-layer say which. Everything else is as in
    `jetseg train`.

    Examples:

        jetseg distill --teacher runs/big/best.safetensors --model tiny --data synthetic --out runs/student

        jetseg distill --teacher big.onnx --model unet --data camvid:data/camvid --cwd-weight 3 --out runs/b
    """
    from jetseg.workflows.training import train

    values = training_settings(config, {**settings, **({"distill": losses} if losses else {})}, set_)
    if values.get("teacher") is None:
        raise ConfigError("There is no teacher to learn from.", "Give `teacher`, or use `jetseg train`.")
    show(train(**values), as_json=as_json)
