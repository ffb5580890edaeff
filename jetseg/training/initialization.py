"""What a run starts from: a fresh network, plain weights, or a checkpoint with its structure."""

from __future__ import annotations

from typing import Any

from torch import nn

from jetseg.config import changed, validate_config
from jetseg.data.contract import Split
from jetseg.data.dataset import slices_of, window_of
from jetseg.errors import ConfigError
from jetseg.evaluation.accuracy import check_classes
from jetseg.evaluation.tasks import has_tasks, target_names
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec, Stage
from jetseg.models import adapt_outputs_, create_model, find_heads, find_outputs, is_foreign, takes_option
from jetseg.models.imagenet import load_imagenet_
from jetseg.network import load_manifest
from jetseg.output_spec import OutputSpec
from jetseg.training.checkpoint import load_checkpoint
from jetseg.training.config import TrainConfig
from jetseg.training.loaders import open_labelled_split
from jetseg.training.plain_weights import import_state_dict

_TO_ZEROS = ("unstructured", "2:4")
"""Methods of pruning that set single weights to zero."""


def resolve(config: TrainConfig) -> TrainConfig:
    """Fills in what the data or the checkpoint decide: sizes, normalization, and whether zeros stay."""
    decided: dict[str, Any] = {}
    if config.init is not None:
        parent = load_manifest(config.init)
        height, width = parent.input.height, parent.input.width
        if has_tasks(parent):
            decided["tasks"] = config.tasks or target_names(parent)
        if config.keep_zeros is None:
            decided |= {"keep_zeros": any(stage.settings.get("method") in _TO_ZEROS for stage in parent.stages)}
    else:
        frame = open_labelled_split(config.data, config.split)[0].image_hwc_u8
        height, width = frame.shape[:2]
        decided = {"mean": config.channel_mean, "std": config.channel_std}
    height, width = config.height or height, config.width or width
    decided |= {"height": height, "width": width}
    decided |= {"crop_height": config.crop_height or height, "crop_width": config.crop_width or width}
    return changed(config, **decided)


def start_network(config: TrainConfig, dataset: Split) -> tuple[nn.Module, Manifest]:
    """Builds the network and the manifest of what the run will write.

    Args:
        config: Settings, resolved.
        dataset: The training split; gives classes and ignored id.

    Raises:
        ConfigError: There is no such network or option.
        ArtifactError: The checkpoint or the weights are broken or do not fit.
        DataError: The checkpoint's classes are not those of the dataset.
    """
    stage = _stage(config)
    known: dict[str, Any] = {
        "classes": dataset.classes,
        "palette": dataset.palette,
        "ignore_index": dataset.ignore_index,
    }
    if config.init is not None:
        module, parent = load_checkpoint(config.init)
        check_classes(parent.classes, dataset.classes, dataset.spec)
        output = changed(parent.output, **known)
        return module.train(), parent.derive(stage, outputs=(output,), input=_input_after(parent, config, dataset))
    known |= {"activation": config.activation, "threshold": config.threshold}
    output = validate_config(OutputSpec, known)
    model = ModelSpec(factory=config.model, options=config.model_options)
    manifest = _fresh_manifest(config, dataset, (output,), model)
    module = create_model(
        config.model, manifest.output.channels, in_channels=manifest.input.channels, **config.model_options
    )
    _fill_(module, config)
    if is_foreign(config.model) or config.output is not None:
        model = find_outputs(module, manifest, config.output)
    return adapt_outputs_(module, model).train(), manifest.changed(model=model)


def start_tasks(config: TrainConfig, dataset: Split, outputs: tuple[OutputSpec, ...]) -> tuple[nn.Module, Manifest]:
    """Builds the network of several tasks, or of one that is not what the labels say, and its manifest.

    Args:
        config: Settings, resolved.
        dataset: The training split.
        outputs: One per task.

    Raises:
        ConfigError: There is no such network or option.
        ArtifactError: The checkpoint or the weights are broken, or the network has not these tasks.
        DataError: The checkpoint's classes are not those of the dataset.
    """
    if config.init is not None:
        module, parent = load_checkpoint(config.init)
        if target_names(parent) != tuple(output.name for output in outputs):
            raise ConfigError(
                f"{config.init} has the tasks {', '.join(target_names(parent))}, and {', '.join(config.tasks)} are "
                "asked for.",
                "Leave out `tasks`.",
            )
        for mine, other in zip(parent.outputs, outputs, strict=True):
            check_classes(mine.classes, other.classes, dataset.spec)
        outputs = tuple(
            changed(mine, palette=other.palette, ignore_index=other.ignore_index)
            for mine, other in zip(parent.outputs, outputs, strict=True)
        )
        spec = _input_after(parent, config, dataset)
        return module.train(), parent.derive(_stage(config), outputs=outputs, input=spec)
    options = dict(config.model_options)
    if len(outputs) > 1 and takes_option(config.model, "heads"):
        options.setdefault("heads", {output.label: output.channels for output in outputs})
    manifest = _fresh_manifest(config, dataset, outputs, ModelSpec(factory=config.model, options=options))
    module = create_model(config.model, manifest.output.channels, in_channels=manifest.input.channels, **options)
    _fill_(module, config)
    model = find_heads(module, manifest) if len(outputs) > 1 else find_outputs(module, manifest, config.output)
    return adapt_outputs_(module, model).train(), manifest.changed(model=model)


def _stage(config: TrainConfig) -> Stage:
    return Stage(name="distill" if config.teacher else "train", settings=config.identity())


def _input_after(parent: Manifest, config: TrainConfig, dataset: Split) -> InputSpec:
    """Returns the input of a checkpoint that goes on learning; what the data do not say stays as it was."""
    seen = {"frames": window_of(dataset), "slices": slices_of(dataset)}
    stated = {name: value for name, value in seen.items() if value is not None}
    return changed(parent.input, height=config.height, width=config.width, **stated)


def _fill_(module: nn.Module, config: TrainConfig) -> None:
    """Fills a fresh network with the weights that were asked for."""
    if config.imagenet:
        load_imagenet_(module)
    if config.weights is not None:
        import_state_dict(config.weights, module)


def _fresh_manifest(config: TrainConfig, dataset: Split, outputs: tuple[OutputSpec, ...], model: ModelSpec) -> Manifest:
    return Manifest(
        kind="checkpoint",
        outputs=outputs,
        input=validate_config(
            InputSpec,
            {
                "height": config.height or 0,
                "width": config.width or 0,
                "color": config.color,
                "scale": config.scale,
                "mean": config.channel_mean,
                "std": config.channel_std,
                "frames": window_of(dataset),
                "slices": slices_of(dataset),
            },
        ),
        model=model,
        stages=(_stage(config),),
    )
