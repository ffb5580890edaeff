"""Weights that other programs wrote: a plain PyTorch state_dict, read without running any code."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jetseg.errors import ArtifactError
from jetseg.models.shapes import other_names, some_of
from jetseg.training.checkpoint import SUFFIX, read_tensors

_LOG = logging.getLogger(__name__)

_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model", "net")
_OF_TRAINING = re.compile(r"(\w*_)?(loss|losses|criterion|criteria|metric|metrics)(_\w*)?")
"""What the first part of a name looks like that belongs to a training and not to a network."""


@dataclass(frozen=True)
class ImportedWeights:
    """What was done to fit weights to a network.

    Attributes:
        prefix: What stood in front of the network's names and was taken off, as in "model."; may be empty.
        ignored: Names of tensors that are not the network's.
    """

    prefix: str = ""
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Says what was done; empty if the names fitted as they were."""
        parts = [f"the prefix {self.prefix!r} was taken off the names"] if self.prefix else []
        if self.ignored:
            tensors = "1 tensor" if len(self.ignored) == 1 else f"{len(self.ignored)} tensors"
            parts.append(f"{tensors} beside the network ignored: {some_of(self.ignored)}")
        return "; ".join(parts)


def import_state_dict(path: Path, module: nn.Module) -> ImportedWeights:
    """Loads a plain PyTorch state_dict (.pt, .pth, or .safetensors without manifest) into `module`.

    Dictionaries nested under "state_dict" or "model" and a prefix such as "module." are removed, and tensors that the
    prefix does not stand in front of are left out, as are those of a loss. Pickled code is never run:
    `torch.load(weights_only=True)`.

    Returns:
        What was removed and left out, which is logged as well.

    Raises:
        ArtifactError: The file is unreadable, holds more than tensors or several networks that fit, or its names or
            shapes do not fit.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist.", "Check the path.")
    state = read_tensors(path)[0] if path.suffix == SUFFIX else _read_pickled_tensors(path)
    prefix = _prefix(state, module, path)
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    known = module.state_dict().keys()
    if not any(name in known and _of_training(name) for name in own):
        own = {name: value for name, value in own.items() if not _of_training(name)}
    imported = ImportedWeights(prefix, tuple(name for name in state if name.removeprefix(prefix) not in own))
    _load_strictly(module, own, path)
    if said := str(imported):
        _LOG.warning("%s: %s.", path, said)
    return imported


def _prefix(state: Mapping[str, Tensor], module: nn.Module, path: Path) -> str:
    """Returns what stands in front of the names of the network; empty if most names fit as they are."""
    wanted = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    counts: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for length in range(len(parts)):
            if ".".join(parts[length:]) in wanted:
                prefix = "".join(f"{part}." for part in parts[:length])
                counts[prefix] = counts.get(prefix, 0) + 1
    if not counts:
        return ""
    most = max(counts.values())
    best = [prefix for prefix, count in counts.items() if count == most]
    if "" in best or most < len(wanted) / 2:
        return ""
    if len(best) > 1 and most == len(wanted):
        raise ArtifactError(
            f"{path} holds this network several times, under {', '.join(map(repr, sorted(best)))}.",
            "Save the state_dict of one of them.",
        )
    return min(best, key=len)


def _of_training(name: str) -> bool:
    return _OF_TRAINING.fullmatch(name.partition(".")[0]) is not None


def _load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Loads `state`, naming every kind of misfit in one error."""
    own = module.state_dict()
    missing, unexpected = other_names(module, state)
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    mistakes = [
        f"  {what}: {some_of(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("other shape", misshapen))
        if names
    ]
    if mistakes:
        raise ArtifactError(
            f"The weights in {path} do not fit this network ({type(module).__name__}):\n" + "\n".join(mistakes),
            "\nChoose the network, its options and the number of classes that the weights were trained with.",
        )
    module.load_state_dict(dict(state), strict=False)


def _read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ArtifactError(
            f"{path} could not be read as plain tensors: {reason}",
            "Save it with torch.save(network.state_dict(), path); a whole pickled network is refused, as "
            "loading it runs code.",
        ) from error
    for key in _WRAPPER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ArtifactError(f"{path} holds a {type(content).__name__}, not a state_dict.", "Save a state_dict.")
    strangers = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strangers or not content:
        reason = "not tensors: " + some_of(strangers) if strangers else "it is empty"
        raise ArtifactError(
            f"{path} is not a state_dict: {reason}.",
            'Save the state_dict alone or under the key "state_dict".',
        )
    return {str(name): value for name, value in content.items()}
