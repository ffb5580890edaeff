"""`jetseg train`: trains a network on labelled frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.cli.settings_file import Config, Set, layered, parsed
from jetseg.training.config import TrainConfig

if TYPE_CHECKING:
    from jetseg.training.loop import TrainResult


@options.with_settings
def train(
    settings: Annotated[dict[str, Any], options.From(TrainConfig, leave_out=("teacher", "teacher_manifest"))],
    config: Config = None,
    set_: Set = None,
    as_json: options.AsJson = False,
) -> None:
    """Trains a network, or fine-tunes a checkpoint with --init.

    Needs --data and --out. Give the same command again to go on with an interrupted run: it continues after
    its last finished epoch and ends with the weights that it would have had anyway. Every setting can also
    stand in a YAML file; the settings of a run are written to OUT/config.yaml.

    Examples:

        jetseg train --data synthetic --model tiny --out runs/tiny --epochs 20

        jetseg train --data camvid:data/camvid --model ddrnet-23-slim --class-weights enet --out runs/ddrnet

        jetseg train --data camvid:data/camvid --init runs/pruned.safetensors --lr 3e-4 --out runs/tuned

        jetseg train --config runs/ddrnet/config.yaml --seed 1 --set dice_weight=0.5 --out runs/ddrnet-1
    """
    from jetseg.workflows.training import train

    show(train(**training_settings(config, settings, set_)), as_json=as_json)


def training_settings(config: Config, settings: dict[str, Any], set_: Set) -> dict[str, Any]:
    """Returns all settings of a training: those of the file, over them options, and over these those of `--set`."""
    if "model_options" in settings:
        settings = {**settings, "model_options": parsed(settings["model_options"])}
    return layered(config, settings, set_)


def show(result: TrainResult, *, as_json: bool) -> None:
    """Prints where the checkpoints are and what the best one scores; the first process alone speaks."""
    from jetseg.network import load_manifest

    if not result.first_process:
        return
    manifest = load_manifest(result.best)
    (accuracy,), data = manifest.accuracy, manifest.stages[-1].settings["data"]
    if as_json:
        scores = {
            "best": str(result.best),
            "last": str(result.last),
            "val_miou": accuracy.miou,
            "data": data,
            "split": accuracy.split,
            "frames": accuracy.frames,
        }
        print_json(scores)
        return
    print_lines(
        f"best: {result.best}, mIoU {accuracy.miou:.2f} % on {data}, split {accuracy.split}, {accuracy.frames} frames",
        f"last: {result.last}",
    )
