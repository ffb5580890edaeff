"""Settings of a training or distillation run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jetseg.config import Cli, Settings
from jetseg.training.renamed import accept_old_names

if TYPE_CHECKING:
    from jetseg.data.augment import AugmentConfig

IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
_GRAY_MEAN = (0.449,)
_GRAY_STD = (0.226,)
LoggerName = Literal["csv", "tensorboard", "mlflow"]
FREE_ON_RESUME = frozenset({"out", "resume", "workers", "accelerator", "cache_mb", "probe", "logger"})
"""These say how fast a run goes or when it stops looking, not what it computes: they may change on resuming."""
GIVEN_BY_INIT = frozenset(
    {"model", "model_options", "output", "activation", "threshold", "color", "scale", "mean", "std"}
)
"""What a checkpoint decides that a run starts from."""


class DistillConfig(Settings):
    """How a student imitates its teacher: weight and temperature of each of `jetseg.training.distillation_losses`."""

    kd_weight: float = Field(
        1.0, ge=0, description="Weight of the soft labels of each pixel (Hinton et al., arXiv:1503.02531)."
    )
    temperature: float = Field(
        2.0,
        gt=0,
        description="Temperature of the soft labels: logits are divided by it before the softmax, so that above 1 the "
        "classes that the teacher finds unlikely count for more.",
    )
    cwd_weight: float = Field(
        0.0, ge=0, description="Weight of channel-wise distillation: each class's distribution over the frame (CWD)."
    )
    cwd_temperature: float = Field(
        4.0, gt=0, description="Temperature of CWD: the higher, the more the whole frame counts beside the peaks."
    )
    dist_weight: float = Field(0.0, ge=0, description="Weight of DIST: correlation with the teacher's probabilities.")
    dist_temperature: float = Field(1.0, gt=0, description="Temperature of the probabilities that DIST correlates.")
    relation_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of CIRKD: which pixels have similar features; needs a checkpoint as the teacher.",
    )
    relation_temperature: float = Field(
        0.1, gt=0, description="Temperature of CIRKD: the lower, the more the most similar pixels alone count."
    )
    mimic_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the features themselves, through a 1x1 adapter; needs a checkpoint as the teacher.",
    )
    student_layer: str = Field(
        "classifier", description="Convolution of the student whose input its features are, where they are compared."
    )
    teacher_layer: str = Field("classifier", description="The same of the teacher.")

    @property
    def compares_features(self) -> bool:
        """Whether the teacher must give features, not only logits."""
        return self.relation_weight > 0 or self.mimic_weight > 0

    @property
    def total_weight(self) -> float:
        """The sum of all weights."""
        return self.kd_weight + self.cwd_weight + self.dist_weight + self.relation_weight + self.mimic_weight


class TrainConfig(Settings):
    """Everything that a run depends on; the same settings on the same machine give the same weights."""

    data: Annotated[str, Cli(metavar="SPEC", registry="datasets")] = Field(description="Dataset, NAME:PLACE; names.")
    split: str = Field("train", description='Split to learn from; several joined by "+", as in "train+val".')
    eval_split: str = Field("val", description="Split to choose the best epoch by.")
    frames: int | None = Field(
        None, gt=0, description="Learn from (and validate on) only this many frames, spread evenly; all by default."
    )
    model: Annotated[str, Cli(metavar="NAME", registry="networks")] = Field(
        "fast-scnn", description="Network, by its name or as package.module:factory of your own; names."
    )
    model_options: Annotated[dict[str, Any], Cli(flag="--model-option", metavar="KEY=VALUE")] = Field(
        default_factory=dict, description="Further argument of the network, as in width=24."
    )
    output: Annotated[str | None, Cli(metavar="PLACE")] = Field(
        None,
        description="Where the logits are in what the network returns: a key, as in logits, or a position, as in 0; "
        "found by itself where that is clear.",
    )
    out: Annotated[Path, Cli(metavar="DIR")] = Field(description="Folder of the run.")
    activation: Literal["softmax", "sigmoid"] = Field(
        "softmax",
        description="How scores decide: softmax, a channel per class; or sigmoid, one channel that tells the second of "
        "two classes from the first, as is usual in medicine (the network is asked for num_classes=1).",
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, description="Probability above which a pixel is of the second class, with sigmoid."
    )
    init: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Checkpoint to start from; network, pruned structure and input come from it."
    )
    weights: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Plain PyTorch state_dict (.pt, .pth) to start from."
    )
    imagenet: bool = Field(
        False, description="Start the encoder from ImageNet weights (network efficientnet-lite-fpn)."
    )
    freeze: Annotated[tuple[str, ...], Cli(metavar="PATTERN")] = Field(
        (),
        description=(
            "Part of the network that is not trained, its batch norm included: a pattern of module names, "
            'as in "encoder.stem".'
        ),
    )
    lr_factors: Annotated[dict[str, Annotated[float, Field(ge=0)]], Cli(metavar="PATTERN=FACTOR")] = Field(
        default_factory=dict,
        description="Factor of the learning rate for a part of the network, by pattern, as in encoder.*=0.3.",
    )
    keep_zeros: bool | None = Field(
        None,
        description="Weights that are zero at the start stay zero; by default where single weights were pruned before.",
    )
    height: int | None = Field(
        None, gt=0, description="Height of the network's input, in pixels; by default that of the data."
    )
    width: int | None = Field(
        None, gt=0, description="Width of the network's input, in pixels; by default that of the data."
    )
    crop_height: int | None = Field(None, gt=0, description="Height of the training crops; by default the input's.")
    crop_width: int | None = Field(None, gt=0, description="Width of the training crops; by default the input's.")
    color: Literal["bgr", "rgb", "gray"] = Field("rgb", description="Order of the input's channels.")
    scale: float = Field(1 / 255, gt=0, description="Factor of the pixels (0..255) before the mean is taken off.")
    mean: Annotated[tuple[float, ...] | None, Cli(metavar="NUMBER")] = Field(
        None, description="Mean per channel after scaling; ImageNet's by default."
    )
    std: Annotated[tuple[float, ...] | None, Cli(metavar="NUMBER")] = Field(
        None, description="Standard deviation per channel after scaling; ImageNet's by default."
    )
    epochs: int = Field(100, gt=0, description="Passes over the training frames.")
    batch_size: int = Field(8, ge=2, description="Crops per step on one device; batch normalization needs at least 2.")
    optimizer: Literal["sgd", "adamw"] = Field("adamw", description="sgd (with Nesterov momentum) or adamw.")
    lr: float = Field(0.001, gt=0, description="Highest learning rate; falls to 0 as (1 - progress)^power.")
    weight_decay: float = Field(0.0001, ge=0, description="Decay of weights; biases and normalizations are left alone.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    warmup_fraction: float = Field(
        0.05, ge=0, lt=1, description="Part of the run in which the learning rate rises linearly from 0."
    )
    power: float = Field(0.9, ge=0, description="Exponent of the decay.")
    class_weights: Literal["none", "enet", "median"] = Field(
        "none",
        description="Weights of the classes in the loss: none, enet (arXiv:1606.02147) or median (arXiv:1411.4734).",
    )
    ohem_fraction: float | None = Field(
        None, gt=0, le=1, description="Learn only this fraction of the pixels, the hardest ones; all by default."
    )
    dice_weight: float = Field(0.0, ge=0, description="Weight of the soft Dice loss.")
    lovasz_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the Lovasz-softmax loss, which follows mIoU more closely than cross-entropy does.",
    )
    lovasz_from: float = Field(
        0.15, ge=0, lt=1, description="Part of the run after which the Lovasz-softmax loss joins."
    )
    aux_weight: float = Field(0.4, ge=0, description="Weight of each auxiliary head.")
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Decay of the running mean of the weights, which is validated and kept; 0 turns it off.",
    )
    seed: int = Field(0, ge=0, description="Fixes order, augmentation, dropout and fresh weights.")
    workers: int = Field(
        0,
        ge=0,
        description="Loader processes; 0 loads in the main process, which is best for cached frames on few cores.",
    )
    cache_mb: int = Field(1000, ge=0, description="Keep decoded frames in memory if they need no more than this.")
    precision: str = Field(
        "32-true", description='Lightning Fabric\'s precision, "32-true" or a mixed one, as in "bf16-mixed".'
    )
    accelerator: str = Field("auto", description="Lightning Fabric's accelerator.")
    devices: int = Field(1, gt=0, description="Number of devices; torchrun's own number wins.")
    validate_every: int = Field(
        1, gt=0, description="Epochs from one validation to the next; the last epoch is always validated."
    )
    resume: bool = Field(True, description="Go on with an unfinished run in `out`; if False, start over.")
    logger: LoggerName = Field(
        "csv", description="Where figures go: metrics.csv in any case; tensorboard and mlflow get them, too."
    )
    probe: bool = Field(
        True,
        description="Try training, export, saving and pruning for a second first, if the network is not jetseg's own.",
    )
    augment: Annotated[dict[str, Any], Cli(hidden=True)] = Field(
        default_factory=dict,
        validate_default=True,
        description="Random changes of the frames: settings of `jetseg.data.augment.AugmentConfig` but `crop`.",
    )
    tasks: Annotated[tuple[str, ...], Cli(flag="--task", metavar="NAME")] = Field(
        (),
        description="Task to learn, the main one first: segmentation is what the labels say, others are named by the "
        "data; by default segmentation alone.",
    )
    task_weighting: Literal["equal", "uncertainty", "gradnorm"] = Field(
        "equal",
        description="How the losses of several tasks are weighed: equal, by uncertainty (arXiv:1705.07115) or by "
        "gradient norm (GradNorm, arXiv:1711.02257).",
    )
    loss_weights: Annotated[dict[str, float], Cli(flag="--loss-weight", metavar="TASK=FACTOR")] = Field(
        default_factory=dict, description="Factor of the loss of a task, 1 by default."
    )
    task_teachers: Annotated[dict[str, Path], Cli(flag="--task-teacher", metavar="TASK=FILE")] = Field(
        default_factory=dict, description="Checkpoint that teaches one task, in place of `teacher`."
    )
    teacher: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Checkpoint or ONNX file to imitate."
    )
    teacher_manifest: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="The teacher's manifest if it is not beside it."
    )
    distill: DistillConfig = Field(DistillConfig(), description="How to imitate the teacher.")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if sum((self.init is not None, self.weights is not None, self.imagenet)) > 1:
            raise ValueError("init, weights and imagenet exclude each other: give one")
        fixed = sorted(self.model_fields_set & GIVEN_BY_INIT)
        if self.init is not None and fixed:
            raise ValueError(f"init brings its own {', '.join(fixed)}; leave that out")
        if self.teacher is None and self.teacher_manifest is not None:
            raise ValueError("teacher_manifest needs a teacher")
        if self.teacher is not None and self.distill.total_weight == 0:
            raise ValueError("a teacher without weight teaches nothing: raise distill.kd_weight or another weight")
        for mistake in self._task_mistakes():
            raise ValueError(mistake)
        if "crop" in self.augment:
            raise ValueError("augment.crop: use crop_height and crop_width")
        if self.precision.endswith("-true") and self.precision != "32-true":
            raise ValueError(f"precision {self.precision}: weights stay float32 here; use bf16-mixed or 16-mixed")
        return self

    def _task_mistakes(self) -> Iterator[str]:
        if len(set(self.tasks)) != len(self.tasks):
            yield "tasks has a name twice"
        for name, weight in self.loss_weights.items():
            if weight < 0 or (self.tasks and name not in self.tasks):
                yield f"loss_weights: {name} is no task, or its factor is below 0"
        if self.tasks and (self.class_weights != "none" or self.lovasz_weight):
            yield "class_weights and lovasz_weight are for one task"
        if self.tasks and self.activation != "softmax":
            yield "activation is for one task: among several, the data say which are binary"

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is validated
        return accept_old_names(values)

    @field_validator("augment")
    @classmethod
    def _complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        from jetseg.data.augment import AugmentConfig

        complete = AugmentConfig.model_validate({"crop": (1, 1), **values}).model_dump(mode="json")
        return {key: value for key, value in complete.items() if key != "crop" or key in values}

    def augment_config(self) -> AugmentConfig:
        """Returns the augmentation of resolved settings."""
        from jetseg.data.augment import AugmentConfig

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
        from jetseg.network import artifact_sha256  # which needs onnx, and the settings are read without it

        files = {"init": self.init, "weights": self.weights, "teacher": self.teacher, **self.task_teachers}
        hashes = {name: artifact_sha256(path) for name, path in files.items() if path is not None and path.is_file()}
        silent = set(FREE_ON_RESUME)
        if self.activation == "softmax":
            silent |= {"activation", "threshold"}  # runs of 0.2 have neither, and may be resumed
        if not self.tasks:
            silent |= {"tasks", "task_weighting", "loss_weights", "task_teachers"}
        return {**self.model_dump(mode="json", exclude=silent), "input_sha256": hashes}


def _in_order(color: str, rgb: tuple[float, float, float], gray: tuple[float]) -> tuple[float, ...]:
    return {"rgb": rgb, "bgr": rgb[::-1], "gray": gray}[color]
