"""What a run starts from: a fresh network, plain weights, or a checkpoint with its structure."""

from __future__ import annotations

from typing import Any

from torch import nn

from jetseg.data.contract import SegmentationDataset
from jetseg.evaluate.accuracy import check_classes
from jetseg.manifest import Manifest, ModelSpec, Stage
from jetseg.models import create_model
from jetseg.train.checkpoint import import_state_dict, load_checkpoint
from jetseg.train.config import TrainConfig


def start_network(config: TrainConfig, dataset: SegmentationDataset) -> tuple[nn.Module, Manifest]:
    """Builds the network and the manifest of what the run will write.

    Args:
        config: Settings.
        dataset: The training split; gives classes, ignored id and the default input size.

    Raises:
        ConfigError: There is no such network or option.
        ArtifactError: The checkpoint or the weights are broken or do not fit.
        DataError: The checkpoint's classes are not those of the dataset.
    """
    stage = Stage(name="distill" if config.teacher else "train", settings=config.identity())
    classes: dict[str, Any] = {
        "classes": dataset.classes,
        "palette": dataset.palette,
        "ignore_index": dataset.ignore_index,
    }
    if config.init is not None:
        module, parent = load_checkpoint(config.init)
        check_classes(parent.classes, dataset.classes, dataset.spec)
        spec = parent.input
        size = {"height": config.height or spec.height, "width": config.width or spec.width}
        changes = {
            **classes,
            "input": spec.model_copy(update=size),
            "parent_sha256": parent.sha256,
            "parity": None,
            "accuracy": (),
            "stages": (*parent.stages, stage),
        }
        return module.train(), parent.model_copy(update=changes)
    height, width = dataset[0].image_hwc_u8.shape[:2]
    manifest = Manifest(
        kind="checkpoint",
        **classes,
        input=config.input_spec(height, width),
        model=ModelSpec(factory=config.model, options=config.model_options),
        stages=(stage,),
    )
    module = create_model(
        config.model, manifest.num_classes, in_channels=manifest.input.channels, **config.model_options
    )
    if config.weights is not None:
        import_state_dict(config.weights, module)
    return module.train(), manifest
