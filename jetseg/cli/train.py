"""`jetseg train`: trains a network on labelled frames."""

from __future__ import annotations

from jetseg.cli import training as t


def train(
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
    settings = t.make_config(locals())
    from jetseg.train.loop import run

    t.print_result(settings, run(settings), as_json=as_json)
