"""The loop of quantization-aware training: what belongs to a step and to an epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import lightning_fabric
import torch
from torch import Tensor
from torch.optim import Adam

from jetseg.compress.qat.artifacts import float_twin_path, scales_path, write_artifacts
from jetseg.compress.qat.config import QatConfig
from jetseg.compress.qat.crops import CropNetwork, open_trainable
from jetseg.compress.qat.frames import WithoutVoid, open_run_frames
from jetseg.compress.qat.module import OnnxModule
from jetseg.errors import ArtifactError
from jetseg.evaluation.accuracy import as_record
from jetseg.manifest import Stage
from jetseg.measured import Accuracy, Parity
from jetseg.network import Network, open_network
from jetseg.onnx.file import load_onnx
from jetseg.progress import Task
from jetseg.training.checkpoint import read_tensors, write_tensors
from jetseg.training.class_weights import class_weights
from jetseg.training.config import TrainConfig
from jetseg.training.distillation import DistillationLoss, check_same_classes
from jetseg.training.epochs import BEST_NAME, EpochLoop
from jetseg.training.loaders import Batch, Crops, Feed, LabelledFrames
from jetseg.training.losses import SegmentationLoss
from jetseg.training.open_teacher import open_teacher
from jetseg.training.optimize import learning_rate
from jetseg.training.parameters import RunningMean
from jetseg.training.validate import defined_miou, validate


@dataclass(frozen=True)
class TrainedGraph:
    """What quantization-aware training made.

    Attributes:
        qdq: The Q/DQ network with trained weights and scales.
        float_twin: The same weights without quantizers.
        scales: File of the trained ranges: the largest magnitude of each quantized activation, by its name.
        best_epoch: The epoch that was kept; 0 is before training.
        score: mIoU on the validation split in percent, or without labels the agreement with the teacher.
    """

    qdq: Network
    float_twin: Network
    scales: Path
    best_epoch: int
    score: float


class QatTraining(EpochLoop):
    """One run: what it needs, and what belongs to a step and to an epoch."""

    title = "Training in 8 bits"
    trained: OnnxModule

    def __init__(
        self,
        fabric: lightning_fabric.Fabric,
        qat: QatConfig,
        config: TrainConfig,
        start: Network,
        taught_by: Network | None,
        identity: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.fabric, self.qat, self.config, self.start = fabric, qat, config, start
        spec = start.manifest.input
        self.model = load_onnx(start.path, start.sha256)
        self.trained, self.manifest = open_trainable(self.model, start.manifest, qat.scales)
        self.taught_by = taught_by
        learn_from, self.watched = self.read()
        augment, size = config.augment_config(), (spec.height, spec.width)
        crops = self.make_crops(learn_from, size)
        self.feed = Feed(fabric, crops, batch_size=qat.batch_size, seed=config.seed, workers=config.workers)
        self.trained.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = CropNetwork(self.trained, self.manifest, augment.crop, fabric.device)
        self.make_losses(learn_from, size)
        self.optimizer = self.stepper = _make_optimizer(self.trained, qat)
        self.mean = RunningMean(self.trained, config.ema_decay)
        self.measured: dict[str, Any] = {}
        """The newest measurement, as the manifest records it."""
        self.begin(identity, resume=resume)

    @property
    def score_name(self) -> str:
        """What the epochs are compared by."""
        return "val_miou" if self.qat.labels else "val_agreement"

    def read(self) -> tuple[LabelledFrames, LabelledFrames]:
        """Opens the teacher, and reads the frames to learn from and those to choose the best epoch by."""
        self.teacher = None if self.taught_by is None else open_teacher(self.taught_by)
        if self.teacher is not None:
            check_same_classes(self.teacher.manifest.classes, self.manifest.classes)
        return open_run_frames(self.config, self.start.manifest, self.teacher, labels=self.qat.labels)

    def make_crops(self, frames: LabelledFrames, size: tuple[int, int]) -> Crops:
        """Returns augmented crops of the frames to learn from."""
        return Crops(frames, size, self.config.augment_config(), self.config.seed)

    def make_losses(self, frames: LabelledFrames, size: tuple[int, int]) -> None:
        """Makes the losses against labels and against the teacher, whichever there are."""
        self.loss: SegmentationLoss | None = None
        self.distillation: DistillationLoss | None = None
        if self.qat.labels:
            weights = class_weights(self.qat.class_weights, frames, self.config.out)
            self.loss = SegmentationLoss(self.manifest.ignore_index, weights).to(self.fabric.device)
        if self.teacher is not None:
            teacher = WithoutVoid(self.teacher, self.network.channels)
            self.distillation = DistillationLoss(teacher, size, self.qat.distill)

    def before_first_epoch(self, running: Task) -> None:
        """Scores the untrained graph, which takes part as epoch 0."""
        if not self.progress.history:
            running.update(note="validating the start")
            self.keep(0, None)

    def set_step(self, step: int) -> None:
        """Sets the learning rates of weights and scales."""
        share = learning_rate(self.config, step, self.steps) / self.config.lr
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest_lr"] * share

    def batch_loss(self, batch: Batch) -> Tensor:
        """Returns the loss against labels and against the teacher, whichever there are."""
        frames, labels = batch
        logits = self.network(frames)
        loss = logits.new_zeros(())
        if self.loss is not None:
            weight = 1.0 if self.distillation is None else self.qat.label_weight
            loss = loss + weight * self.loss(logits, labels)
        if self.distillation is not None:
            loss = loss + self.distillation(logits, frames)
        return loss

    def validate(self, done: int) -> float:  # noqa: ARG002
        """Returns the mIoU on the validation split; without labels, the agreement with the teacher."""
        scored = validate(self.mean.module, self.manifest, self.watched, self.fabric.device)
        if self.qat.labels:
            self.measured = as_record(scored, self.watched.source).model_dump()
            return defined_miou(scored, self.watched)
        score = scored.pixel_accuracy or 0.0
        self.measured = Parity(frames=scored.frames, argmax_agreement=score / 100).model_dump()
        return score

    def save_best(self, done: int) -> None:
        """Writes the weights of the best epoch."""
        notes = {"measured": json.dumps(self.measured), "epoch": str(done)}
        write_tensors(self.config.out / BEST_NAME, self.mean.module.state_dict(), notes)

    def figures(self, score: float | None) -> dict[str, float | None]:
        """Returns the score under its name."""
        return {self.score_name: score}

    def latest_score(self) -> str:
        """Returns the newest score."""
        return f"{self.score_name} {self.progress.history[-1][self.score_name]:.2f}"

    def advice(self) -> str:
        """Says what to do about a loss that is no longer a number."""
        return f"Lower the learning rates (`lr`, now {self.qat.lr:g}; `scale_lr`, now {self.qat.scale_lr:g})."

    def write(self, out: Path) -> TrainedGraph:
        """Writes what the best epoch made."""
        kept = self.config.out / BEST_NAME
        tensors, notes = read_tensors(kept)
        try:
            epoch, measured = int(notes["epoch"]), json.loads(notes["measured"])
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"{kept} is not what this run wrote.", "Turn `resume` off to start over.") from error
        self.trained.load_state_dict(tensors)
        settings = self.qat.model_dump(mode="json", exclude={"resume", "workers", "logger"}, exclude_none=True)
        settings |= {"data": self.config.data, "best_epoch": epoch, "history": self.progress.history}
        manifest = self.start.manifest.derive(
            Stage(name="qat", settings=settings),
            kind="onnx",
            parent_sha256=self.start.sha256,
            accuracy=(Accuracy.model_validate(measured),) if self.qat.labels else (),
            parity=None if self.qat.labels else Parity.model_validate(measured),
        )
        write_artifacts(out, self.model, self.trained, manifest)
        best = self.progress.best_miou if self.progress.best_miou is not None else float("nan")
        return TrainedGraph(open_network(out), open_network(float_twin_path(out)), scales_path(out), epoch, best)


def _make_optimizer(module: OnnxModule, config: QatConfig) -> Adam:
    """Builds Adam over weights and scales, each with its own learning rate; a short run needs no weight decay."""
    weights = list(module.changes)
    scales = [parameter for parameter in module.activations.parameters() if parameter.requires_grad]
    groups = [{"params": weights, "highest_lr": config.lr}, {"params": scales, "highest_lr": config.scale_lr}]
    return Adam([group for group in groups if group["params"]], lr=config.lr)
