"""Losses that make a student imitate a teacher on the same pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from jetseg.errors import ConfigError
from jetseg.train.losses import Outputs, match_size
from jetseg.train.resizing import resize_batch
from jetseg.train.teacher import Teacher


class DistillationLoss:
    """Runs the teacher on the student's crop and compares the logits of the student's main head.

    Args:
        teacher: Gives logits for uint8 crops.
        frame_size: Height and width of a whole frame for the student. A teacher with a larger input sees the
            crops enlarged by the same ratio, so that things have the size that it knows.
        kd_weight: Weight of the soft-label loss; 0 turns it off.
        temperature: Its temperature.
        cwd_weight: Weight of the channel-wise loss; 0 turns it off.
        cwd_temperature: Its temperature.
    """

    def __init__(
        self,
        teacher: Teacher,
        frame_size: tuple[int, int],
        *,
        kd_weight: float,
        temperature: float,
        cwd_weight: float,
        cwd_temperature: float,
    ) -> None:
        self.teacher = teacher
        self.frame_size = frame_size
        self.kd_weight = kd_weight
        self.temperature = temperature
        self.cwd_weight = cwd_weight
        self.cwd_temperature = cwd_temperature

    def __call__(self, outputs: Outputs, frames_nhwc_u8: Tensor) -> Tensor:
        """Returns the weighted sum of both losses.

        Args:
            outputs: The student's outputs for `frames_nhwc_u8`; only the main head is compared.
            frames_nhwc_u8: The augmented crops that the student saw, BGR.
        """
        main = outputs[0] if isinstance(outputs, tuple | list) else outputs
        student_logits = match_size(main, frames_nhwc_u8[..., 0]).float()
        teacher_logits = match_size(self.teacher(self._scaled(frames_nhwc_u8)), student_logits)
        loss = student_logits.new_zeros(())
        if self.kd_weight:
            loss = loss + self.kd_weight * soft_label_loss(student_logits, teacher_logits, self.temperature)
        if self.cwd_weight:
            loss = loss + self.cwd_weight * channel_wise_loss(student_logits, teacher_logits, self.cwd_temperature)
        return loss

    def _scaled(self, frames_nhwc_u8: Tensor) -> Tensor:
        expected = self.teacher.manifest.input
        height, width = frames_nhwc_u8.shape[1:3]
        return resize_batch(
            frames_nhwc_u8,
            round(height * expected.height / self.frame_size[0]),
            round(width * expected.width / self.frame_size[1]),
        )


def soft_label_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Returns T^2 * KL(teacher || student) of the softened class distributions, mean over pixels.

    Method: arXiv:1503.02531, applied to each pixel; T^2 keeps the gradient's size independent of T.

    Args:
        student_logits: float, N x C x H x W.
        teacher_logits: float, N x C x H x W.
        temperature: T > 0.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    pixels = student_logits.numel() // student_logits.shape[1]
    return F.kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2 / pixels


def channel_wise_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Returns T^2 * KL(teacher || student) of each class's distribution over positions, mean over channels.

    Method: channel-wise distillation, arXiv:2011.13256: each logit map becomes a distribution over the frame.

    Args:
        student_logits: float, N x C x H x W.
        teacher_logits: float, N x C x H x W.
        temperature: T > 0.
    """
    student = F.log_softmax(student_logits.flatten(2) / temperature, dim=2)
    teacher = F.log_softmax(teacher_logits.flatten(2) / temperature, dim=2)
    maps = student_logits.shape[0] * student_logits.shape[1]
    return F.kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2 / maps


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
