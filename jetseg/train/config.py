"""Settings of a training or distillation run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jetseg.data.augment import AugmentConfig
from jetseg.errors import ConfigError
from jetseg.storage import sha256_file, write_text

IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
_GRAY_MEAN = (0.449,)
_GRAY_STD = (0.226,)
CONFIG_NAME = "config.yaml"
# These say how fast a run goes or when it stops looking, not what it computes: they may change on resuming.
_FREE_ON_RESUME = frozenset({"out", "resume", "workers", "accelerator", "cache_mb"})
_GIVEN_BY_INIT = frozenset({"model", "model_options", "color", "scale", "mean", "std"})


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DistillConfig(_Settings):
    """How a student imitates its teacher: weight and temperature of each loss of `jetseg.train.distillation_losses`.

    Attributes:
        kd_weight: Soft labels of each pixel.
        temperature: Theirs.
        cwd_weight: Each class's distribution over the frame (CWD).
        cwd_temperature: Its own.
        dist_weight: Correlation with the teacher's probabilities (DIST).
        dist_temperature: Its own.
        relation_weight: Which pixels have similar features (CIRKD); needs a checkpoint as the teacher.
        relation_temperature: Its own.
        mimic_weight: The features themselves, through a 1x1 adapter; needs a checkpoint as the teacher.
        student_layer: Convolution of the student whose input its features are.
        teacher_layer: The same of the teacher.
    """

    kd_weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)
    cwd_weight: float = Field(default=0.0, ge=0)
    cwd_temperature: float = Field(default=4.0, gt=0)
    dist_weight: float = Field(default=0.0, ge=0)
    dist_temperature: float = Field(default=1.0, gt=0)
    relation_weight: float = Field(default=0.0, ge=0)
    relation_temperature: float = Field(default=0.1, gt=0)
    mimic_weight: float = Field(default=0.0, ge=0)
    student_layer: str = "classifier"
    teacher_layer: str = "classifier"

    @property
    def compares_features(self) -> bool:
        """Whether the teacher must give features, not only logits."""
        return self.relation_weight > 0 or self.mimic_weight > 0

    @property
    def total_weight(self) -> float:
        """The sum of all weights."""
        return self.kd_weight + self.cwd_weight + self.dist_weight + self.relation_weight + self.mimic_weight


class TrainConfig(_Settings):
    """Everything that a run depends on; the same settings on the same machine give the same weights.

    Attributes:
        data: Dataset spec, as in "camvid:/data/camvid".
        split: Split to learn from; several joined by "+", as in "train+val".
        val_split: Split to choose the best epoch by.
        frames: Learn from (and validate on) only this many frames, spread evenly; all by default.
        model: Registry name or "package.module:factory".
        model_options: Further arguments of the network.
        out: Folder of the run.
        init: Checkpoint to start from; network, pruned structure and input come from it.
        weights: Plain PyTorch state_dict to start from.
        imagenet: Start the encoder from ImageNet weights (network efficientnet-lite-fpn).
        freeze: Parts of the network that are not trained, their batch norm included: patterns of module names, as
            in "encoder.stem".
        lr_factors: Factors of the learning rate for parts of the network, by pattern, as in {"encoder.*": 0.3}.
        keep_zeros: Weights that are zero at the start stay zero; by default so where single weights were pruned before.
        height: Height of the network's input, in pixels; by default that of the data.
        width: Width of the network's input, in pixels; by default that of the data.
        crop_height: Height of the training crops; by default the input's.
        crop_width: Width of the training crops; by default the input's.
        color: Order of the input's channels.
        scale: Factor of the pixels (0..255) before the mean is taken off.
        mean: Mean per channel after scaling; ImageNet's by default.
        std: Standard deviation per channel after scaling; ImageNet's by default.
        epochs: Passes over the training frames.
        batch_size: Crops per step on one device; batch normalization needs at least 2.
        optimizer: "sgd" (with Nesterov momentum) or "adamw".
        lr: Highest learning rate; falls to 0 as (1 - progress)^power.
        weight_decay: Decay of weights; biases and normalizations are left alone.
        momentum: Momentum of SGD.
        warmup_fraction: Part of the run in which the learning rate rises linearly from 0.
        power: Exponent of the decay.
        class_weights: "none", "enet" (arXiv:1606.02147) or "median" (arXiv:1411.4734).
        ohem_fraction: Learn only this fraction of the pixels, the hardest ones; all by default.
        dice_weight: Weight of the soft Dice loss.
        lovasz_weight: Weight of the Lovasz-softmax loss, which follows mIoU more closely than cross-entropy does.
        lovasz_from: Part of the run after which it joins.
        aux_weight: Weight of each auxiliary head.
        ema_decay: Decay of the running mean of the weights, which is validated and kept; 0 turns it off.
        seed: Fixes order, augmentation, dropout and fresh weights.
        workers: Loader processes; 0 loads in the main process, which is best for cached frames on few cores.
        cache_mb: Keep decoded frames in memory if they need no more than this.
        precision: Lightning Fabric's precision, "32-true" or a mixed one, as in "bf16-mixed".
        accelerator: Lightning Fabric's accelerator.
        devices: Number of devices; torchrun's own number wins.
        validate_every: Epochs from one validation to the next; the last epoch is always validated.
        resume: Go on with an unfinished run in `out`; if False, start over.
        augment: Random changes of the frames: settings of `jetseg.data.augment.AugmentConfig` but `crop`.
        teacher: Checkpoint or ONNX file to imitate.
        teacher_manifest: The teacher's manifest if it is not beside it.
        distill: How to imitate it.
    """

    data: str
    split: str = "train"
    val_split: str = "val"
    frames: int | None = Field(default=None, gt=0)
    model: str = "fast-scnn"
    model_options: dict[str, Any] = Field(default_factory=dict)
    out: Path
    init: Path | None = None
    weights: Path | None = None
    imagenet: bool = False
    freeze: tuple[str, ...] = ()
    lr_factors: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    keep_zeros: bool | None = None
    height: int | None = Field(default=None, gt=0)
    width: int | None = Field(default=None, gt=0)
    crop_height: int | None = Field(default=None, gt=0)
    crop_width: int | None = Field(default=None, gt=0)
    color: Literal["bgr", "rgb", "gray"] = "rgb"
    scale: float = Field(default=1 / 255, gt=0)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    epochs: int = Field(default=100, gt=0)
    batch_size: int = Field(default=8, ge=2)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    power: float = Field(default=0.9, ge=0)
    class_weights: Literal["none", "enet", "median"] = "none"
    ohem_fraction: float | None = Field(default=None, gt=0, le=1)
    dice_weight: float = Field(default=0.0, ge=0)
    lovasz_weight: float = Field(default=0.0, ge=0)
    lovasz_from: float = Field(default=0.15, ge=0, lt=1)
    aux_weight: float = Field(default=0.4, ge=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    cache_mb: int = Field(default=1000, ge=0)
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = Field(default=1, gt=0)
    validate_every: int = Field(default=1, gt=0)
    resume: bool = True
    augment: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    teacher: Path | None = None
    teacher_manifest: Path | None = None
    distill: DistillConfig = DistillConfig()

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if sum((self.init is not None, self.weights is not None, self.imagenet)) > 1:
            raise ValueError("init, weights and imagenet exclude each other: give one")
        fixed = sorted(self.model_fields_set & _GIVEN_BY_INIT)
        if self.init is not None and fixed:
            raise ValueError(f"init brings its own {', '.join(fixed)}; leave that out")
        if self.teacher is None and self.teacher_manifest is not None:
            raise ValueError("teacher_manifest needs a teacher")
        if self.teacher is not None and self.distill.total_weight == 0:
            raise ValueError("a teacher without weight teaches nothing: raise distill.kd_weight or another weight")
        if "crop" in self.augment:
            raise ValueError("augment.crop: use crop_height and crop_width")
        if self.precision.endswith("-true") and self.precision != "32-true":
            raise ValueError(f"precision {self.precision}: weights stay float32 here; use bf16-mixed or 16-mixed")
        return self

    @field_validator("augment")
    @classmethod
    def _complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        complete = AugmentConfig.model_validate({"crop": (1, 1), **values}).model_dump(mode="json")
        return {key: value for key, value in complete.items() if key != "crop" or key in values}

    def augment_config(self) -> AugmentConfig:
        """Returns the augmentation of resolved settings."""
        return AugmentConfig(crop=(self.crop_height or 0, self.crop_width or 0), **self.augment)

    @property
    def channel_mean(self) -> tuple[float, ...]:
        """Mean per channel, in the order of `color`."""
        return self.mean or _in_order(self.color, IMAGENET_MEAN_RGB, _GRAY_MEAN)

    @property
    def channel_std(self) -> tuple[float, ...]:
        """Standard deviation per channel, in the order of `color`."""
        return self.std or _in_order(self.color, IMAGENET_STD_RGB, _GRAY_STD)

    def identity(self) -> dict[str, Any]:
        """Returns the settings and files that decide the result, as JSON values; a resumed run must have the same."""
        files = {"init": self.init, "weights": self.weights, "teacher": self.teacher}
        hashes = {name: sha256_file(path) for name, path in files.items() if path is not None and path.is_file()}
        return {**self.model_dump(mode="json", exclude=set(_FREE_ON_RESUME)), "input_sha256": hashes}


def _in_order(color: str, rgb: tuple[float, float, float], gray: tuple[float]) -> tuple[float, ...]:
    return {"rgb": rgb, "bgr": rgb[::-1], "gray": gray}[color]


def check_resumable(folder: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to go on with a run under other settings.

    Args:
        folder: Where the run keeps its state.
        earlier: The settings that it was started with.
        now: The settings that were given this time.

    Raises:
        ConfigError: Some settings differ; all of them are listed with both values.
    """
    differences = [
        f"  {key}: {earlier.get(key)!r} then, {now.get(key)!r} now"
        for key in sorted({*now, *earlier})
        if now.get(key) != earlier.get(key)
    ]
    if differences:
        raise ConfigError(
            f"{folder} holds a run with other settings:\n" + "\n".join(differences),
            "\nGive another output, the same settings, or --no-resume to start over.",
        )


def save_config(config: TrainConfig) -> Path:
    """Writes the resolved settings as YAML into the run's folder; returns the file."""
    path = config.out / CONFIG_NAME
    silent = set(_GIVEN_BY_INIT) if config.init else set()
    write_text(path, yaml.safe_dump(config.model_dump(mode="json", exclude=silent), sort_keys=False))
    return path
