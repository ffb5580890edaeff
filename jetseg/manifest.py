"""The sidecar that travels with every artifact: what goes in, what comes out, where it came from.

The manifest of `<file>` is `<file>.json` beside it. A user may write one by hand, in JSON or YAML, for a
network that was made elsewhere.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import jetseg
from jetseg.errors import ArtifactError, ConfigError, ManifestError
from jetseg.palette import Color, default_palette
from jetseg.storage import sha256_file, write_text

Precision = Literal["fp32", "fp16", "int16", "int8"]
EnginePrecision = Literal["fp32", "fp16", "int8"]
"""What engines are built in."""
ConfigT = TypeVar("ConfigT", bound=BaseModel)
MAX_CLASSES = 254
"""A class map is uint8; one value stays free for void."""


class Record(BaseModel):
    """Base of everything in a manifest: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Record):
    """What a network eats: value = (pixel * scale - mean) / std, pixels 0..255 in `color` order.

    `kind` is "normalized" (float32, 1 x channels x height x width, the caller normalizes) or "frame" (uint8,
    1 x height x width x 3 in `color` order, the graph normalizes).
    """

    name: str | None = None
    kind: Literal["normalized", "frame"] = "normalized"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    color: Literal["bgr", "rgb", "gray"] = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 1.0, 1.0)

    @property
    def channels(self) -> int:
        """Number of channels that the network sees."""
        return 1 if self.color == "gray" else 3

    @model_validator(mode="after")
    def _one_number_per_channel(self) -> InputSpec:
        for key in ("mean", "std"):
            if len(getattr(self, key)) != self.channels:
                raise ValueError(f"{key} needs {self.channels} numbers for color {self.color}")
        return self


class OutputSpec(Record):
    """What comes out: "logits" (float, 1 x C x H x W) or "classmap" (uint8, 1 x H x W).

    Channels or ids beyond the classes count as void.
    """

    name: str | None = None
    kind: Literal["logits", "classmap"] = "logits"


class ModelSpec(Record):
    """How to build the torch module of a checkpoint: a registry name or `package.module:factory`."""

    factory: str
    options: dict[str, Any] = Field(default_factory=dict)


class Accuracy(Record):
    """An accuracy in percent: measured, or `simulated` where the machine cannot run the engine."""

    data: str
    split: str
    frames: int
    miou: float | None
    pixel_accuracy: float | None
    per_class_iou: dict[str, float | None]
    simulated: bool = False

    @property
    def per_class_dice(self) -> dict[str, float | None]:
        """Dice coefficient of each class, in percent, as medical work quotes it: 2 IoU / (1 + IoU)."""
        return {name: None if iou is None else 200.0 * iou / (100.0 + iou) for name, iou in self.per_class_iou.items()}

    @property
    def mean_dice(self) -> float | None:
        """Mean of the classes' Dice coefficients, in percent."""
        defined = [value for value in self.per_class_dice.values() if value is not None]
        return sum(defined) / len(defined) if defined else None


class Parity(Record):
    """How far an artifact is from the one it was made from, on `frames` inputs.

    Attributes:
        frames: How many.
        max_abs_error: Largest difference of the logits; None if they were not compared.
        argmax_agreement: Fraction of the pixels that got the same class, 0 to 1.
    """

    frames: int
    max_abs_error: float | None = None
    argmax_agreement: float


class JointNormal(Record):
    """Several quantities that are judged together: their means, standard deviations and correlations."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    correlation: tuple[tuple[float, ...], ...]


class Profile(Record):
    """What frames and answers looked like when the engine was built; the drift monitor learns its bounds from it.

    Attributes:
        data: Kind of the dataset.
        split: Its split.
        frames: How many frames were measured.
        quantiles: 1 %, 50 % and 99 % of each signal of `jetseg.evaluate.signals`.
        joint: Signals that are vectors: colors, scene, classes.
        class_percent: Mean and standard deviation of each class's share of the picture, in percent.
        agreement_miou: mIoU of the engine against its parent on these frames, in percent; None if not measured.
    """

    data: str
    split: str
    frames: int
    quantiles: dict[str, tuple[float, float, float]]
    joint: dict[str, JointNormal]
    class_percent: dict[str, tuple[float, float]]
    agreement_miou: float | None = None


class Stage(Record):
    """One step of an artifact's history, with the settings that it ran with.

    A manifest travels with its artifact, so of absolute paths only the last part is kept.

    >>> Stage(name="train", settings={"data": "camvid:/home/me/camvid", "teacher": "/home/me/big.onnx"}).settings
    {'data': 'camvid:camvid', 'teacher': 'big.onnx'}
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("settings")
    @classmethod
    def _without_folders(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return {key: _last_part(value) if isinstance(value, str) else value for key, value in settings.items()}


class Manifest(Record):
    """Everything that must be known to use an artifact correctly, and how it came to be."""

    format: Literal[1] = 1
    kind: Literal["checkpoint", "onnx", "engine"] = "onnx"
    classes: tuple[str, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    palette: tuple[Color, ...] | None = None
    ignore_index: int | None = None
    input: InputSpec
    output: OutputSpec = OutputSpec()
    model: ModelSpec | None = None
    precision: Precision = "fp32"
    backend: str | None = None
    sha256: str | None = None
    parent_sha256: str | None = None
    calibration_sha256: str | None = None
    toolchain: dict[str, str] = Field(default_factory=dict)
    device: str | None = None
    parity: Parity | None = None
    accuracy: tuple[Accuracy, ...] = ()
    profile: Profile | None = None
    stages: tuple[Stage, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        if self.palette is not None and len(self.palette) != len(self.classes):
            raise ValueError(f"palette needs one color for each of the {len(self.classes)} classes")
        return self

    @property
    def num_classes(self) -> int:
        """Number of scored classes."""
        return len(self.classes)

    @property
    def colors(self) -> tuple[Color, ...]:
        """RGB color per class."""
        return self.palette or default_palette(self.classes)


def manifest_path(artifact: Path) -> Path:
    """Returns the place of an artifact's manifest."""
    return artifact.with_name(artifact.name + ".json")


def load_manifest(artifact: Path, manifest_file: Path | None = None) -> Manifest:
    """Loads and checks the manifest of an artifact.

    Args:
        artifact: The checkpoint, ONNX file or engine.
        manifest_file: A manifest elsewhere (JSON or YAML); by default the one beside the artifact.

    Raises:
        ArtifactError: The artifact does not exist, or its hash differs from the one recorded.
        ManifestError: The manifest does not exist or is malformed.
    """
    if not artifact.is_file():
        raise ArtifactError(f"{artifact} does not exist.", "Check the path.")
    path = manifest_file or manifest_path(artifact)
    manifest = read_manifest(path, artifact)
    if manifest.sha256 is not None and manifest.sha256 != sha256_file(artifact):
        raise ArtifactError(
            f"{artifact} is not the file that {path.name} describes: its SHA-256 differs, so it was truncated, "
            "damaged or replaced.",
            "Copy it again or build it anew.",
        )
    return manifest


def read_manifest(path: Path, artifact: Path) -> Manifest:
    """Reads a manifest file in JSON or YAML.

    Raises:
        ManifestError: It does not exist or is malformed; all mistakes are named.
    """
    if not path.is_file():
        raise ManifestError(
            f"{artifact} has no manifest: {path} does not exist.",
            "Write one that names classes, input and output (see the README), and pass it as --manifest FILE.",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise ManifestError(f"{path} is not a valid manifest:\n{explain(error)}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is neither JSON nor YAML: {error}") from error


def save_manifest(
    artifact: Path, manifest: Manifest, *, device: str | None = None, versions: Mapping[str, str] | None = None
) -> Manifest:
    """Writes `<artifact>.json` with the artifact's hash and this toolchain; returns what was written.

    Args:
        artifact: The file that the manifest describes.
        manifest: All else.
        device: What the artifact was made for; this machine's processor by default.
        versions: Further versions that the artifact depends on.
    """
    complete = manifest.model_copy(
        update={
            "sha256": sha256_file(artifact),
            "toolchain": toolchain() | dict(versions or {}),
            "device": device or device_name(),
        }
    )
    write_text(manifest_path(artifact), complete.model_dump_json(indent=2) + "\n")
    return complete


def explain(error: ValidationError) -> str:
    """Lists all mistakes that pydantic found, one per line, each with the key's path."""
    lines = []
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"]) or "(whole file)"
        lines.append(f"  {key}: {mistake['msg']}")
    return "\n".join(lines)


def _last_part(text: str) -> str:
    kind, colon, path = text.rpartition(":")
    return f"{kind}{colon}{PurePosixPath(path).name}" if path.startswith("/") else text


def validate_config(model: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Builds a config model, reporting all mistakes together as one `ConfigError`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"These settings are wrong:\n{explain(error)}") from error


def toolchain(
    packages: Sequence[str] = ("torch", "onnx", "onnxruntime", "tensorrt", "numpy"),
) -> dict[str, str]:
    """Returns the versions of jetseg, Python and of those `packages` that are installed."""
    versions = {"jetseg": jetseg.__version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def device_name() -> str:
    """Returns the processor's name and architecture, as figures are quoted with it."""
    cpuinfo = Path("/proc/cpuinfo")
    name = ""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name or platform.processor() or 'unknown processor'} ({platform.machine()})"
