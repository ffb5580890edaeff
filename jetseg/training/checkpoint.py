"""Checkpoints: weights in safetensors, everything else in the manifest beside them; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from jetseg.artifact_file import new_artifact
from jetseg.config import changed
from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest import Manifest
from jetseg.models import adapt_outputs_, fit_shapes_, restore_model
from jetseg.models.stated_sizes import state_sizes_, stated_sizes
from jetseg.network import Network, open_network
from jetseg.storage import atomic_path

SUFFIX = ".safetensors"


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
    with new_artifact(path) as draft:
        _write_tensors(draft.path, module.state_dict())
        return draft.describe(with_stated_sizes(manifest, module).changed(kind="checkpoint"))


def with_stated_sizes(manifest: Manifest, module: nn.Module) -> Manifest:
    """Returns a manifest that knows what pruning changed in the code of a network."""
    model = manifest.model and changed(manifest.model, stated_sizes=stated_sizes(module))
    return manifest.changed(model=model)


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
            "Give a .safetensors file that jetseg wrote; other weights come in by `jetseg import`.",
        )
    try:
        state = load(network.read())
    except SafetensorError as error:
        raise _unreadable(path, error) from error
    try:
        return rebuild(manifest, state), manifest
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.found}", error.fix) from error


def rebuild(manifest: Manifest, state: Mapping[str, Tensor]) -> nn.Module:
    """Builds the network that a manifest describes, in eval mode, with pruned or factorized weights.

    Raises:
        ArtifactError: The weights do not fit the network, or the manifest names a factory that nobody trusts.
    """
    if manifest.model is None:
        raise ArtifactError("The manifest does not say how to build the network.", "Set `model`.")
    module = restore_model(manifest.model, manifest.output.channels, manifest.input.channels)
    fit_shapes_(module, state)
    module.load_state_dict(state, strict=False)  # names and shapes fit; a counter of batch norms may be absent
    state_sizes_(module, manifest.model.stated_sizes)
    return adapt_outputs_(module, manifest.model).eval()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors (and text) atomically to one safetensors file; shared ones are stored twice."""
    with atomic_path(path) as temporary:
        _write_tensors(temporary, tensors, metadata)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    own = {name: tensor.detach().to("cpu").clone().contiguous() for name, tensor in tensors.items()}
    # not `save_file`, which writes to a temporary file of its own that a killed process leaves there
    path.write_bytes(save(own, metadata=dict(metadata) if metadata else None))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads all tensors and the text metadata of a safetensors file.

    Raises:
        ArtifactError: The file is truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} is not a readable safetensors file: {error}.", "Copy it again or train anew.")
