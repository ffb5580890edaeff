"""What `jetseg train` and `jetseg distill` share: options, settings from a file, the printed result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from jetseg.errors import ConfigError

if TYPE_CHECKING:
    from jetseg.train.config import TrainConfig
    from jetseg.train.loop import TrainResult


def _option(text: str, metavar: str | None = None) -> Any:  # noqa: ANN401 - typer's own return type
    return typer.Option(help=text, metavar=metavar, show_default=False)


Data = Annotated[str | None, _option("camvid:DIR, cityscapes:DIR, folder:DIR, synthetic or synthetic:N.", "SPEC")]
Model = Annotated[
    str | None,
    _option(
        "fast-scnn, ddrnet-23-slim, efficientnet-lite-fpn, unet, tiny, or your own package.module:factory.", "NAME"
    ),
]
ModelOption = Annotated[
    list[str] | None, _option("Option of the network, as in width=24; may be repeated.", "KEY=VALUE")
]
Out = Annotated[Path | None, _option("Folder of the run.", "DIR")]
Init = Annotated[Path | None, _option("Checkpoint to start from, its pruned structure included.", "FILE")]
Weights = Annotated[Path | None, _option("Plain PyTorch state_dict (.pt, .pth) to start from.", "FILE")]
Epochs = Annotated[int | None, _option("Passes over the training frames [100].", "N")]
BatchSize = Annotated[int | None, _option("Crops per step on one device [8].", "N")]
Lr = Annotated[float | None, _option("Highest learning rate [0.001].", "RATE")]
OptimizerName = Annotated[str | None, _option("sgd or adamw [adamw].", "NAME")]
Height = Annotated[int | None, _option("Height of the network's input [that of the frames].", "PIXELS")]
Width = Annotated[int | None, _option("Width of the network's input [that of the frames].", "PIXELS")]
CropHeight = Annotated[int | None, _option("Height of the training crops [the input's].", "PIXELS")]
CropWidth = Annotated[int | None, _option("Width of the training crops [the input's].", "PIXELS")]
ClassWeights = Annotated[str | None, _option("none, enet or median [none].", "NAME")]
Frames = Annotated[int | None, _option("Use only this many frames of each split, for a quick run.", "N")]
Seed = Annotated[int | None, _option("Fixes order, augmentation and fresh weights [0].", "N")]
Workers = Annotated[int | None, _option("Loader processes; 0 loads in the main process [0].", "N")]
Accelerator = Annotated[str | None, _option("cpu, cuda or auto [auto].", "NAME")]
Devices = Annotated[int | None, _option("Devices to train on [1].", "N")]
FabricPrecision = Annotated[str | None, _option("32-true, bf16-mixed or 16-mixed [32-true].", "NAME")]
Resume = Annotated[
    bool | None,
    typer.Option("--resume/--no-resume", help="Go on with an interrupted run, or start over [resume]."),
]
Config = Annotated[Path | None, _option("YAML file with any settings; options win over it.", "FILE")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other setting, as in augment.scale=[0.75,1.5]; may be repeated.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_NOT_SETTINGS = frozenset({"config", "set_", "model_option", "as_json"})


def make_config(given: dict[str, Any]) -> TrainConfig:
    """Builds the settings from a verb's arguments: the file first, then options, then `--set`.

    Raises:
        ConfigError: The file cannot be read, or settings are wrong; all mistakes are named.
    """
    from jetseg.config import validate_config
    from jetseg.train.config import TrainConfig

    values = _read_settings(given["config"]) if given["config"] else {}
    values |= {key: value for key, value in given.items() if key not in _NOT_SETTINGS and value is not None}
    for text in given["model_option"] or []:
        _assign(values, f"model_options.{text}")
    for text in given["set_"] or []:
        _assign(values, text)
    return validate_config(TrainConfig, values)


def print_result(config: TrainConfig, result: TrainResult, *, as_json: bool) -> None:
    """Prints where the checkpoints are and what the best one scores; the first process alone speaks."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from jetseg.network import load_manifest

    if getattr(rank_zero_only, "rank", 0) != 0:
        return
    (accuracy,) = load_manifest(result.best).accuracy
    if as_json:
        content = {
            "best": str(result.best),
            "last": str(result.last),
            "val_miou": accuracy.miou,
            "data": config.data,
            "split": accuracy.split,
            "frames": accuracy.frames,
        }
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    sys.stdout.write(
        f"best: {result.best}, mIoU {accuracy.miou:.2f} % on {config.data}, split {accuracy.split}, "
        f"{accuracy.frames} frames\nlast: {result.last}\n"
    )


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} could not be read as YAML: {error}", "Check the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings.", "Write `key: value` lines, as in `epochs: 100`.")
    return content


def _assign(values: dict[str, Any], text: str) -> None:
    """Sets a.b.c=VALUE in nested dictionaries; VALUE is read as YAML."""
    path, equals, value = text.partition("=")
    *parents, key = path.split(".")
    if not equals or not key:
        raise ConfigError(f"{text!r} sets nothing.", "Write it as KEY=VALUE.")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, dict) else {}
        values = values[parent]
    try:
        values[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value in {text!r} is not valid YAML.", "Quote it.") from error
