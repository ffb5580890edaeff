"""The factorization stage: checkpoint in, checkpoint out whose convolutions are chains of smaller ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import nn

from jetseg.compress.config import FactorizeConfig
from jetseg.compress.layers import layer_shapes, match_layers
from jetseg.compress.low_rank import (
    energy_rank,
    spatial_shape,
    spatial_spectrum,
    spatial_svd,
    tucker2,
    tucker_spectra,
    vbmf_rank,
)
from jetseg.errors import ConfigError
from jetseg.manifest import Stage
from jetseg.models.copying import copied
from jetseg.models.cost import module_cost
from jetseg.models.factors import Factors, factorizable, replace_layer_
from jetseg.network import Network
from jetseg.onnx.cost import Cost
from jetseg.onnx.layer_shape import LayerShape, Piece, TimeLayers
from jetseg.storage import check_output
from jetseg.training.checkpoint import SUFFIX, load_checkpoint, save_checkpoint

WORTHWHILE = 0.95
"""A pair pays if it takes at most this fraction of the layer's latency."""


@dataclass(frozen=True)
class LayerVerdict:
    """Whether a layer pays.

    Attributes:
        name: The layer.
        ranks: Ranks of its factors; empty if it has none.
        factorized: Whether it was replaced.
        reason: Why, or why not.
        error: Distance of the kernel from the factors' product, relative to the kernel; None without factors.
        before_ms: Latency of the layer; None where it was not timed.
        after_ms: Latency of its factors.
    """

    name: str
    ranks: tuple[int, ...]
    factorized: bool
    reason: str
    error: float | None = None
    before_ms: float | None = None
    after_ms: float | None = None


@dataclass(frozen=True)
class FactorizeResult:
    """What factorization made.

    Attributes:
        checkpoint: The factorized checkpoint; not there if low rank pays for no layer.
        before: Parameters and multiply-accumulates of one inference before.
        after: The same after.
        layers: A verdict on each convolution.
        miou: mIoU on the validation split in percent, if it was fine-tuned.
    """

    checkpoint: Path
    before: Cost
    after: Cost
    layers: tuple[LayerVerdict, ...]
    miou: float | None = None

    @property
    def pays(self) -> bool:
        """Whether any layer was split."""
        return any(layer.factorized for layer in self.layers)


def factorize_network(
    network: Network, config: FactorizeConfig, out: Path, time_layers: TimeLayers | None = None
) -> FactorizeResult:
    """Factorizes a checkpoint without fine-tuning it; if low rank pays for no layer, nothing is written.

    Args:
        network: Checkpoint to factorize.
        config: Settings.
        out: Checkpoint to write; ends in `.safetensors`.
        time_layers: Measures layers on the device; not needed for `size_only`.

    Raises:
        ArtifactError: The checkpoint is broken.
        ConfigError: A pattern in `keep` matches nothing.
    """
    check_output(out, SUFFIX, [network.path])
    module, manifest = load_checkpoint(network)
    shape = (1, manifest.input.channels, manifest.input.height, manifest.input.width)
    factorized, layers = factorize(module, config, torch.zeros(shape), time_layers)
    result = FactorizeResult(out, module_cost(module, shape), module_cost(factorized, shape), layers)
    if result.pays:
        stage = Stage(name="factorize", settings=config.model_dump(mode="json", exclude_none=True))
        save_checkpoint(out, factorized, manifest.derive(stage))
    return result


def factorize(
    module: nn.Module, config: FactorizeConfig, example_input: torch.Tensor, time_layers: TimeLayers | None
) -> tuple[nn.Module, tuple[LayerVerdict, ...]]:
    """Returns a factorized copy of a network and a verdict on each convolution; see `factorize_network`."""
    result = copied(module).eval()
    convolutions = {name: layer for name, layer in result.named_modules() if isinstance(layer, nn.Conv2d)}
    shapes = layer_shapes(result, example_input)
    kept = match_layers(list(convolutions), config.keep)
    verdicts = {}
    for name, conv in convolutions.items():
        if name in kept:
            verdicts[name] = LayerVerdict(name, (), False, "kept on request")
            continue
        factors, ranks, reason = _factors(conv, config)
        if factors is None:
            verdicts[name] = LayerVerdict(name, ranks, False, reason)
            continue
        verdicts[name] = _judge(name, conv, factors, ranks, shapes.get(name, ()), config, time_layers)
        if verdicts[name].factorized:
            replace_layer_(result, name, factors)
    return result, tuple(verdicts.values())


def _factors(conv: nn.Conv2d, config: FactorizeConfig) -> tuple[Factors | None, tuple[int, ...], str]:
    """Returns the factors of a convolution and their ranks; or None, and why it has none."""
    if conv.groups > 1:
        return None, (), "cannot: grouped convolution"
    if not factorizable(conv) or (config.form == "spatial" and min(conv.kernel_size) == 1):
        return None, (), "cannot: nothing to split in its kernel"
    ranks = _ranks(conv, config)
    if min(ranks) == 0:
        return None, ranks, "does not pay: its kernel is noise to VBMF"
    if _weights(conv, config, ranks) >= conv.weight.numel():
        return None, ranks, "does not pay: factors of these ranks are not smaller"
    factors = spatial_svd(conv, ranks[0]) if config.form == "spatial" else tucker2(conv, *ranks)
    return factors, ranks, ""


def _ranks(conv: nn.Conv2d, config: FactorizeConfig) -> tuple[int, ...]:
    taps = conv.weight[0, 0].numel()
    most = (min(spatial_shape(conv)),) if config.form == "spatial" else (conv.in_channels, conv.out_channels)
    if config.rank == "budget":
        ranks = _budget_ranks(conv, config, most)
    elif config.form == "spatial":
        spectrum = spatial_spectrum(conv)
        ranks = (_chosen(spectrum, spatial_shape(conv), config),)
    else:
        matrices = [
            (conv.in_channels, conv.out_channels * taps),
            (conv.out_channels, conv.in_channels * taps),
        ]
        spectra = tucker_spectra(conv)
        ranks = tuple(_chosen(values, shape, config) for values, shape in zip(spectra, matrices, strict=True))
    ranks = tuple(
        min(limit, math.ceil(rank / config.round_to) * config.round_to) for rank, limit in zip(ranks, most, strict=True)
    )
    if config.form == "spatial":
        return ranks
    # the layer between the two 1x1 ones has no more rank than it has products
    reading = min(ranks[0], ranks[1] * taps)
    return reading, min(ranks[1], reading * taps)


def _chosen(spectrum: torch.Tensor, shape: tuple[int, int], config: FactorizeConfig) -> int:
    return vbmf_rank(spectrum, *shape) if config.rank == "vbmf" else energy_rank(spectrum, config.energy)


def _budget_ranks(conv: nn.Conv2d, config: FactorizeConfig, most: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the largest ranks, in proportion to the channels, whose factors have the fraction of the weights."""
    allowed = config.budget * conv.weight.numel()
    for percent in range(100, 0, -1):
        ranks = tuple(max(1, limit * percent // 100 // config.round_to * config.round_to) for limit in most)
        if _weights(conv, config, ranks) <= allowed:
            return ranks
    return tuple(1 for _ in most)


def _weights(conv: nn.Conv2d, config: FactorizeConfig, ranks: tuple[int, ...]) -> int:
    height, width = conv.kernel_size
    if config.form == "spatial":
        return ranks[0] * (conv.in_channels * height + conv.out_channels * width)
    return conv.in_channels * ranks[0] + ranks[0] * ranks[1] * height * width + ranks[1] * conv.out_channels


def _judge(
    name: str,
    conv: nn.Conv2d,
    factors: Factors,
    ranks: tuple[int, ...],
    shapes: tuple[LayerShape, ...],
    config: FactorizeConfig,
    time_layers: TimeLayers | None,
) -> LayerVerdict:
    error = _relative_error(conv, factors)
    if config.size_only:
        return LayerVerdict(name, ranks, True, "smaller", error)
    if not shapes:
        return LayerVerdict(name, ranks, False, "does not run in inference", error)
    if time_layers is None:
        raise ConfigError("Nothing measures the layers.", "Set `size_only`, or give a timer.")
    pieces: list[Piece] = [(shape,) for shape in shapes] + [_piece(shape, factors) for shape in shapes]
    times = time_layers(pieces)
    before, after = sum(times[: len(shapes)]), sum(times[len(shapes) :])
    pays = after <= WORTHWHILE * before
    reason = f"{'pays' if pays else 'does not pay'}: {before / max(after, 1e-9):.2f} times as fast"
    return LayerVerdict(name, ranks, pays, reason, error, before, after)


def _piece(shape: LayerShape, factors: Factors) -> Piece:
    """Returns the shapes of the factors, each on the output of the one before."""
    layers: list[LayerShape] = []
    height, width = shape.height, shape.width
    for part in factors:
        channels = layers[-1].out_channels if layers else shape.in_channels
        own = layer_shapes(nn.Sequential(part), torch.zeros(1, channels, height, width))["0"][0]
        layers.append(own)
        height, width = own.output_size
    return tuple(layers)


def _relative_error(conv: nn.Conv2d, factors: Factors) -> float:
    """Multiplies the factors out and compares with the kernel."""
    weights = [part.weight.detach().double() for part in factors if isinstance(part, nn.Conv2d)]
    if len(weights) == 2:
        composed = torch.einsum("rih,orw->oihw", weights[0][..., 0], weights[1][:, :, 0])
    else:
        composed = torch.einsum("ri,srhw,os->oihw", weights[0][..., 0, 0], weights[1], weights[2][..., 0, 0])
    kernel = conv.weight.detach().double()
    return float((composed - kernel).norm() / kernel.norm().clamp(min=1e-30))
