"""From a checkpoint to the same weights for another size of input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.compress.config import ResizeConfig
from jetseg.config import changed, validate_config
from jetseg.errors import ArtifactError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Stage
from jetseg.network import Network, open_network
from jetseg.storage import check_output
from jetseg.workflows.opening import as_network

if TYPE_CHECKING:
    from torch import nn

_SUFFIX = ".safetensors"


def resize(
    checkpoint: Network | Path | str,
    *,
    out: Path | str,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Network:
    """Makes a checkpoint for another size of input; its weights stay, and want some training at the new size.

    Args:
        checkpoint: Network to resize, opened or by its path.
        out: Checkpoint to write.
        settings: Fields of `jetseg.compress.config.ResizeConfig`: `height` and `width`.

    Raises:
        ConfigError: Settings are wrong.
        ArtifactError: The checkpoint is broken, or its network takes no input of this size.
    """
    config = validate_config(ResizeConfig, settings)
    network, target = as_network(checkpoint), Path(out)
    check_output(target, _SUFFIX, [network.path])
    from jetseg.training.checkpoint import load_checkpoint, save_checkpoint

    module, manifest = load_checkpoint(network)
    stage = Stage(name="resize", settings=config.model_dump())
    spec = changed(manifest.input, height=config.height, width=config.width)
    _check_runs(module, spec)
    save_checkpoint(target, module, manifest.derive(stage, input=spec))
    return open_network(target)


def _check_runs(module: nn.Module, spec: InputSpec) -> None:
    """Refuses a size that the network's own code cannot take."""
    import torch

    try:
        with torch.no_grad():
            module(torch.zeros(1, spec.channels, spec.height, spec.width))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise ArtifactError(
            f"{type(module).__name__} takes no input of {spec.height} x {spec.width}: {error}.",
            "Choose a size that is a multiple of its output stride.",
        ) from error
