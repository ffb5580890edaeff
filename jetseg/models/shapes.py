"""Fits a freshly built network to weights that were factorized or whose channels were pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from jetseg.errors import ArtifactError
from jetseg.models.factors import restore_factors_

_RESIZABLE = (_ConvNd, nn.Linear, _NormBase, nn.GroupNorm, nn.PReLU)
_NAMES_SHOWN = 5


def fit_shapes_(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Resizes the layers of `module` in place, so that `module.load_state_dict(state_dict)` succeeds.

    Convolutions that were factorized become their factors again. Channel counts of convolutions (depthwise ones
    included), linear layers, normalizations and PReLU follow the shapes of the weights; the new weights are
    uninitialized.

    Args:
        module: A network as its factory builds it.
        state_dict: Weights of the same network after factorization and structured pruning.

    Raises:
        ArtifactError: Weights are missing or left over, or differ in more than channel counts.
    """
    restore_factors_(module, state_dict)
    _check_names(module, state_dict)
    replaced: dict[int, tuple[Tensor, Tensor]] = {}
    for name, layer in reversed(list(module.named_modules())):  # a parametrized weight follows from parts inside
        prefix = f"{name}." if name else ""
        if _resize_weights_(layer, prefix, state_dict, replaced) or is_parametrized(layer):
            _update_counts_(layer)


def _check_names(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    missing, unexpected = other_names(module, state_dict)
    parts = []
    if missing:
        parts.append(f"lack {some_of(missing)}")
    if unexpected:
        parts.append(f"hold {some_of(unexpected)}, which the network does not have")
    if parts:
        raise ArtifactError(
            f"The weights do not belong to this network: they {' and '.join(parts)}.",
            "Check the model's name and options in the manifest.",
        )


def other_names(module: nn.Module, state_dict: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Returns the names of weights that `state_dict` lacks, and of those that the network does not have."""
    expected = module.state_dict().keys()
    # the counter of batch norms is absent from files written by very old torch; it has no effect on results
    missing = [key for key in expected if key not in state_dict and not key.endswith("num_batches_tracked")]
    return missing, [key for key in state_dict if key not in expected]


def some_of(names: Sequence[str]) -> str:
    """Lists the first five names for a message."""
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _resize_weights_(
    layer: nn.Module, prefix: str, state_dict: Mapping[str, Tensor], replaced: dict[int, tuple[Tensor, Tensor]]
) -> bool:
    """Reallocates the layer's own weights where their shapes differ; tells whether any did.

    Layers that share a tensor go on sharing it.

    Args:
        layer: A module with weights of its own.
        prefix: Of the names of its weights.
        state_dict: Weights of the whole network.
        replaced: Each tensor that was replaced and its new one, by the identity of the old.
    """
    persistent = layer.state_dict(keep_vars=True)
    changed = False
    for key, old in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
        if key not in persistent or prefix + key not in state_dict:
            continue
        shape = state_dict[prefix + key].shape
        if shape == old.shape:
            continue
        if not _may_become(layer, old.shape, shape):
            raise ArtifactError(
                f"The weight {prefix + key} has shape {tuple(shape)}, but the network needs {tuple(old.shape)}.",
                "Check the model's name and options in the manifest.",
            )
        if id(old) not in replaced:
            new = torch.empty(shape, dtype=old.dtype, device=old.device)
            replaced[id(old)] = old, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        setattr(layer, key, replaced[id(old)][1])
        changed = True
    return changed


def _may_become(layer: nn.Module, old: torch.Size, new: torch.Size) -> bool:
    """Tells whether pruning can have made one shape of another; of a convolution's, the kernel stays."""
    if len(new) != len(old) or isinstance(layer, nn.LayerNorm):
        return False
    if isinstance(layer, _RESIZABLE):
        return new[2:] == old[2:]
    return all(after <= before for after, before in zip(new, old, strict=True))


def _update_counts_(layer: nn.Module) -> None:
    """Sets the channel counts that a layer remembers to those of its weights."""
    if isinstance(layer, _ConvNd):
        weight: Tensor = getattr(layer, "weight_v", layer.weight)  # old weight norm keeps a product of other size
        first, second = weight.shape[:2]
        sizes = (layer.in_channels, layer.out_channels)[:: 1 if isinstance(layer, _ConvTransposeNd) else -1]
        if layer.groups > 1 and second == sizes[1] // layer.groups:  # whole groups were removed
            layer.groups = first * layer.groups // sizes[0]
        if isinstance(layer, _ConvTransposeNd):
            layer.in_channels, layer.out_channels = first, second * layer.groups
        else:
            layer.in_channels, layer.out_channels = second * layer.groups, first
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _NormBase):
        counted = layer.running_mean if layer.weight is None else layer.weight
        layer.num_features = layer.num_features if counted is None else len(counted)
    elif isinstance(layer, nn.GroupNorm):
        before, layer.num_channels = layer.num_channels, len(layer.weight)
        layer.num_groups = layer.num_groups * layer.num_channels // before  # whole groups were removed
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
