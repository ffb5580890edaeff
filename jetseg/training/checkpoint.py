"""Checkpoints: weights in safetensors, everything else in the manifest beside them; nothing is unpickled."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest import Manifest
from jetseg.models import create_model, fit_shapes_
from jetseg.models.shapes import other_names, some_of
from jetseg.network import Network, open_network, save_manifest
from jetseg.storage import atomic_path

SUFFIX = ".safetensors"
_WRAPPER_KEYS = ("state_dict", "model_state_dict", "model", "net")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


def save_checkpoint(path: Path, module: nn.Module, manifest: Manifest) -> Manifest:
    """Writes the weights of `module` to `path` and the manifest beside it.

    Args:
        path: Ends in `.safetensors`.
        module: A network built by `jetseg.models.create_model` as `manifest.model` says; its channels may
            have been pruned since.
        manifest: Describes the network; `kind` becomes "checkpoint", hash and toolchain are filled in.

    Returns:
        The manifest as written.

    Raises:
        ConfigError: `path` has another suffix, or `manifest.model` is missing.
        StorageError: The disk is full or read-only.
    """
    if path.suffix != SUFFIX:
        raise ConfigError(f"A checkpoint is a {SUFFIX} file, not {path.name}.", "Rename it.")
    if manifest.model is None:
        raise ConfigError(
            f"The manifest of {path.name} does not say how to build the network.",
            "Set `model` to a registry name or `package.module:factory`.",
        )
    write_tensors(path, module.state_dict())
    return save_manifest(path, manifest.changed(kind="checkpoint"))


def load_checkpoint(checkpoint: Network | Path) -> tuple[nn.Module, Manifest]:
    """Rebuilds the network of a checkpoint, pruned channels included, in eval mode on the CPU.

    Args:
        checkpoint: The file, opened or by its path.

    Raises:
        ArtifactError: The file is missing, truncated, not a checkpoint, or does not fit its network.
        ManifestError: The manifest is missing or malformed.
    """
    network = checkpoint if isinstance(checkpoint, Network) else open_network(checkpoint)
    path, manifest = network.path, network.manifest
    if manifest.kind != "checkpoint" or manifest.model is None:
        raise ArtifactError(
            f"{path} is not a checkpoint: its manifest says kind {manifest.kind!r}"
            f"{'' if manifest.model else ' and has no `model`'}.",
            "Give a .safetensors file that `jetseg train`, `distill` or `prune` wrote.",
        )
    state, _ = read_tensors(path)
    module = create_model(
        manifest.model.factory,
        manifest.output.channels,
        in_channels=manifest.input.channels,
        **manifest.model.options,
    )
    try:
        fit_shapes_(module, state)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.found}", error.fix) from error
    module.load_state_dict(state, strict=False)  # names and shapes fit; a counter of batch norms may be absent
    return module.eval(), manifest


def import_state_dict(path: Path, module: nn.Module) -> None:
    """Loads a plain PyTorch state_dict (.pt, .pth, or .safetensors without manifest) into `module`.

    Dictionaries nested under "state_dict" or "model" and prefixes of wrappers such as "module." are removed.
    Pickled code is never run: `torch.load(weights_only=True)`.

    Raises:
        ArtifactError: The file is unreadable, holds more than tensors, or its names or shapes do not fit.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist.", "Check the path.")
    state = read_tensors(path)[0] if path.suffix == SUFFIX else _read_pickled_tensors(path)
    _load_strictly(module, _without_wrapper_prefix(state, set(module.state_dict())), path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors (and text) atomically to one safetensors file; shared ones are stored twice."""
    own = {name: tensor.detach().to("cpu").clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(own, temporary, metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads all tensors and the text metadata of a safetensors file.

    Raises:
        ArtifactError: The file is truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a readable safetensors file: {error}.", "Copy it again or train anew."
        ) from error


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


def _without_wrapper_prefix(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Strips prefixes that all names share and that the network does not have, one after the other."""
    stripped = bool(state)
    while stripped:
        stripped = False
        for prefix in _WRAPPER_PREFIXES:
            if all(name.startswith(prefix) for name in state) and not any(name.startswith(prefix) for name in wanted):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                stripped = True
    return state
