"""Opens a teacher of any kind: a checkpoint, which runs in torch, or an ONNX file."""

from __future__ import annotations

from pathlib import Path

from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest_file import manifest_path
from jetseg.network import Network, open_network
from jetseg.training.checkpoint import SUFFIX, load_checkpoint
from jetseg.training.teacher import Teacher, TorchTeacher


def open_teacher(
    teacher: Network | Path, manifest_file: Path | None = None, feature_layer: str | None = None
) -> Teacher:
    """Opens a teacher.

    Args:
        teacher: A checkpoint (.safetensors) or an ONNX file, opened or by its path.
        manifest_file: The ONNX file's manifest if it is not beside it.
        feature_layer: Convolution of a checkpoint whose input are the features; None for no features.

    Raises:
        ArtifactError: The file is broken, or is neither of both kinds.
        ConfigError: A manifest is given for a checkpoint, or features are asked of an ONNX file.
        ManifestError: The manifest is missing or malformed.
        MissingDependencyError: The teacher is an ONNX file and onnxruntime is not installed.
    """
    path = teacher.path if isinstance(teacher, Network) else teacher
    if path.suffix not in (SUFFIX, ".onnx"):
        raise ArtifactError(
            f"{path} cannot teach: it is neither a checkpoint (.safetensors) nor an ONNX file (.onnx).",
            "Export the network to ONNX, or train a checkpoint with jetseg.",
        )
    if path.suffix == SUFFIX:
        if manifest_file is not None and manifest_file != manifest_path(path):
            raise ConfigError(
                f"{path.name} is a checkpoint and brings its own manifest.", "Leave out `teacher_manifest`."
            )
        return TorchTeacher(*load_checkpoint(teacher), feature_layer)
    if feature_layer is not None:
        raise ConfigError(
            f"{path.name} gives no features to compare with: it is not a checkpoint.",
            "Give a checkpoint (.safetensors) as the teacher, or set `relation_weight` and `mimic_weight` to 0.",
        )
    from jetseg.training.onnx_teacher import OnnxTeacher

    network = teacher if isinstance(teacher, Network) else open_network(teacher, manifest_file)
    return OnnxTeacher(network)
