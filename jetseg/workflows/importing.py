"""From a network that was trained elsewhere to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.config import changed, validate_config
from jetseg.manifest import Manifest, ModelSpec, Stage
from jetseg.manifest_file import read_manifest
from jetseg.network import Network, open_network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.storage import check_output, sha256_file
from jetseg.workflows.config import ImportConfig

if TYPE_CHECKING:
    from jetseg.training.plain_weights import ImportedWeights

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ImportResult:
    """What an import made.

    Attributes:
        checkpoint: The checkpoint, opened.
        weights: What was taken off the names of the weights, and which were left out.
        notes: What will not work with this network, as that its channels cannot be pruned.
    """

    checkpoint: Network
    weights: ImportedWeights
    notes: tuple[str, ...] = ()


def import_network(
    factory: str,
    *,
    weights: Path | str,
    manifest: Path | str,
    out: Path | str,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> ImportResult:
    """Makes a checkpoint of a network that was trained elsewhere, without training it.

    First it is probed: it must run in training and eval mode and give logits that fit the input and the classes, its
    weights must get gradients, and exported, saved and loaded it must compute the same.

    Args:
        factory: `package.module:factory`, or a name of `jetseg.list_registered()["networks"]`; called with
            `num_classes`, `in_channels` and the options, it returns a torch module.
        weights: Its state_dict: .pt or .pth (nothing in it is run), or .safetensors.
        manifest: YAML or JSON that names classes and input, as for a foreign ONNX file.
        out: Checkpoint to write, NAME.safetensors.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.workflows.config.ImportConfig`, as in `output="logits"`.

    Raises:
        ConfigError: Settings are wrong, or there is no such factory.
        ManifestError: The manifest is missing or malformed.
        ArtifactError: The weights do not fit, or the network fails in the probe; which step is said.
        MissingDependencyError: torch is not installed.
    """
    config = validate_config(ImportConfig, settings)
    source, target = Path(weights), Path(out)
    check_output(target, SUFFIX, [source, Path(manifest)])
    described = _manifest(Path(manifest), source, factory, config)
    with report_progress(progress):
        from jetseg.models import adapt_outputs_, create_model, find_outputs
        from jetseg.training.checkpoint import save_checkpoint
        from jetseg.training.plain_weights import import_state_dict
        from jetseg.workflows.probing import probe_network

        module = create_model(
            factory, described.output.channels, in_channels=described.input.channels, **config.model_options
        )
        imported = import_state_dict(source, module)
        spec = find_outputs(module, described, config.output)
        described = described.changed(model=spec)
        notes = probe_network(adapt_outputs_(module, spec).eval(), described)
        save_checkpoint(target, module, described)
    return ImportResult(open_network(target), imported, notes)


def _manifest(path: Path, weights: Path, factory: str, config: ImportConfig) -> Manifest:
    """Takes classes and input from a manifest that may have been written for another form of the network."""
    given = read_manifest(path, weights)
    stage = Stage(
        name="import",
        settings={
            "factory": factory,
            "weights": str(weights),
            "weights_sha256": sha256_file(weights) if weights.is_file() else None,
            **config.model_dump(mode="json", exclude_defaults=True),
        },
    )
    return Manifest(
        kind="checkpoint",
        input=changed(given.input, name=None, kind="normalized", layout="nchw"),
        outputs=(changed(given.output, kind="logits", name=None, layout="nchw"),),
        model=ModelSpec(factory=factory, options=config.model_options),
        stages=(stage,),
    )
