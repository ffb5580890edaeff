"""Losses that make a student imitate a teacher on the same pixels, as functions of both outputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from jetseg.models.layers import resize_like

_RELATION_CELLS = 16
"""Cells per side that features are averaged into before pixels are related: the cost is their fourth power."""


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


def relational_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Returns how far the student's class probabilities are from being linear in the teacher's.

    Method: DIST, arXiv:2205.10536: 1 - Pearson's correlation, between classes at each pixel plus between pixels in
    each class of a frame. A student that ranks as its teacher does pays nothing, however sure it is.

    Args:
        student_logits: float, N x C x H x W.
        teacher_logits: float, N x C x H x W.
        temperature: T > 0.
    """
    student = (student_logits / temperature).softmax(1).flatten(2)
    teacher = (teacher_logits / temperature).softmax(1).flatten(2)
    between_classes = 1.0 - _correlation(student, teacher, dim=1).mean()
    between_pixels = 1.0 - _correlation(student, teacher, dim=2).mean()
    return temperature**2 * (between_classes + between_pixels)


def pixel_relation_loss(student_features: Tensor, teacher_features: Tensor, temperature: float) -> Tensor:
    """Returns the divergence between student and teacher in which pixels of a batch look alike.

    Method: CIRKD's mini-batch pixel-to-pixel distillation, arXiv:2204.06986: rows of the matrix of cosine
    similarities become distributions, KL(teacher || student) of each row, mean over rows. The features of both
    may have different channels and sizes; each frame is averaged into at most 16 x 16 cells first.

    Args:
        student_features: float, N x C x H x W.
        teacher_features: float, N x D x h x w.
        temperature: T > 0 of the distributions.
    """
    both = student_features, teacher_features
    rows, columns = (min(_RELATION_CELLS, *(features.shape[axis] for features in both)) for axis in (2, 3))
    student, teacher = (_similarities(features, (rows, columns)) / temperature for features in both)
    divergence = F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="sum", log_target=True)
    return divergence / student.shape[0]


def feature_loss(adapted_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Returns the mean squared distance of features, each channel of the teacher scaled to unit variance.

    Method: hints of FitNets, arXiv:1412.6550, with a 1x1 convolution that adapts the student's channels.

    Args:
        adapted_features: float, N x D x H x W, after the adapter.
        teacher_features: float, N x D x h x w; resized to H x W.
    """
    teacher_features = resize_like(teacher_features, adapted_features)
    spread = teacher_features.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-6)
    return F.mse_loss(adapted_features / spread, teacher_features / spread)


def _correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    first = first - first.mean(dim, keepdim=True)
    second = second - second.mean(dim, keepdim=True)
    return F.cosine_similarity(first, second, dim=dim, eps=1e-8)


def _similarities(features: Tensor, cells: tuple[int, int]) -> Tensor:
    """Returns the cosine similarity of every pair of cells in the batch."""
    pooled = F.adaptive_avg_pool2d(features, cells).flatten(2).transpose(1, 2).flatten(0, 1)
    unit = F.normalize(pooled, dim=1)
    return unit @ unit.T
