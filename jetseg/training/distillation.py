"""Distillation: what a student is told to imitate of its teacher, and how much each part of it weighs."""

from __future__ import annotations

from torch import Tensor, nn

from jetseg.errors import ConfigError
from jetseg.models.layers import resize_like, two_channels
from jetseg.training.config import DistillConfig
from jetseg.training.distillation_losses import (
    channel_wise_loss,
    feature_loss,
    pixel_relation_loss,
    relational_loss,
    soft_label_loss,
)
from jetseg.training.features import feature_channels, features_into
from jetseg.training.losses import Outputs
from jetseg.training.resizing import resize_batch
from jetseg.training.teacher import Teacher


class FeatureNetwork(nn.Module):
    """A network that also gives the features which are compared with its teacher's.

    Args:
        network: The network that is trained.
        layer: Name of the layer whose input the features are; None for none.
        adapter: 1x1 convolution from the student's channels to the teacher's; None for none.
    """

    def __init__(self, network: nn.Module, layer: str | None = None, adapter: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.adapter = adapter
        self._layer = layer

    def forward(self, x: Tensor) -> tuple[Outputs, Tensor | None, Tensor | None]:
        """Returns the network's outputs, its features, and these after the adapter."""
        if self._layer is None:
            return self.network(x), None, None
        with features_into(self.network, self._layer) as seen:
            outputs = self.network(x)
        return outputs, seen[0], None if self.adapter is None else self.adapter(seen[0])


class DistillationLoss:
    """Runs the teacher on the student's crop and compares what both say.

    Args:
        teacher: Gives logits, and features where these are compared, for uint8 crops.
        frame_size: Height and width of a whole frame for the student. A teacher with a larger input sees the
            crops enlarged by the same ratio, so that things have the size that it knows.
        config: The weight of each loss.
    """

    def __init__(self, teacher: Teacher, frame_size: tuple[int, int], config: DistillConfig) -> None:
        self.teacher = teacher
        self.frame_size = frame_size
        self.config = config

    def __call__(
        self,
        outputs: Outputs,
        frames_nhwc_u8: Tensor,
        features: Tensor | None = None,
        adapted: Tensor | None = None,
    ) -> Tensor:
        """Returns the weighted sum of the losses.

        Args:
            outputs: The student's outputs for `frames_nhwc_u8`; only the main head is compared.
            frames_nhwc_u8: The augmented crops that the student saw, BGR.
            features: The student's features, where pixel relations are compared.
            adapted: These after the adapter, where features are compared.
        """
        config = self.config
        main = outputs[0] if isinstance(outputs, tuple | list) else outputs
        classes = self.teacher.manifest.num_classes
        student = two_channels(resize_like(main[:, :classes], frames_nhwc_u8[..., 0]).float())
        said = self.teacher(self._scaled(frames_nhwc_u8))
        teacher = resize_like(said.logits, student)
        loss = student.new_zeros(())
        if config.kd_weight:
            loss = loss + config.kd_weight * soft_label_loss(student, teacher, config.temperature)
        if config.cwd_weight:
            loss = loss + config.cwd_weight * channel_wise_loss(student, teacher, config.cwd_temperature)
        if config.dist_weight:
            loss = loss + config.dist_weight * relational_loss(student, teacher, config.dist_temperature)
        if config.relation_weight and features is not None and said.features is not None:
            relation = pixel_relation_loss(features.float(), said.features, config.relation_temperature)
            loss = loss + config.relation_weight * relation
        if config.mimic_weight and adapted is not None and said.features is not None:
            loss = loss + config.mimic_weight * feature_loss(adapted.float(), said.features)
        return loss

    def _scaled(self, frames_nhwc_u8: Tensor) -> Tensor:
        expected = self.teacher.manifest.input
        height, width = frames_nhwc_u8.shape[1:3]
        return resize_batch(
            frames_nhwc_u8,
            round(height * expected.height / self.frame_size[0]),
            round(width * expected.width / self.frame_size[1]),
        )


def with_features(network: nn.Module, teacher_channels: int | None, config: DistillConfig) -> FeatureNetwork:
    """Prepares a network for training, with a fresh adapter where features are mimicked.

    Args:
        network: The network that is trained.
        teacher_channels: Channels of the teacher's features; None if features are not compared.
        config: What is imitated.

    Raises:
        ConfigError: The student has no such layer, or it is not a convolution.
    """
    if teacher_channels is None:
        return FeatureNetwork(network)
    channels = feature_channels(network, config.student_layer, "student")
    adapter = nn.Conv2d(channels, teacher_channels, 1) if config.mimic_weight else None
    return FeatureNetwork(network, config.student_layer, adapter)


def distillation_warnings(config: DistillConfig, student: nn.Module) -> list[str]:
    """Returns what is known from the literature to go wrong with these settings."""
    attends = any(isinstance(module, nn.MultiheadAttention | nn.LayerNorm) for module in student.modules())
    if config.cwd_weight and attends:
        return [
            "Channel-wise distillation made a transformer student worse where it was published (SegFormer-B0 on "
            "Cityscapes: 75.58 to 74.80 mIoU, arXiv:2204.06986); DIST (dist_weight) is safer."
        ]
    return []


def check_same_classes(teacher: tuple[str, ...], student: tuple[str, ...]) -> None:
    """Refuses a teacher that means something else by its channels.

    Raises:
        ConfigError: The class lists differ in length, name or order; both are shown.
    """
    if teacher != student:
        raise ConfigError(
            f"The teacher's classes are {', '.join(teacher)}; the student's are {', '.join(student)}.",
            "Names and order must be equal: choose another teacher, or correct `classes` in its manifest.",
        )
