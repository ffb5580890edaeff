"""A teacher: any trained network that gives logits for the crops which the student sees."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from jetseg.manifest import Manifest
from jetseg.training.features import feature_channels, features_into
from jetseg.training.normalize import Normalize
from jetseg.training.resizing import as_teacher_logits


@dataclass(frozen=True)
class TeacherOutput:
    """What a teacher says about some crops.

    Attributes:
        logits: float32, N x C x H x W, C the number of classes.
        features: float32, N x D x h x w; None where they were not asked for.
    """

    logits: Tensor
    features: Tensor | None = None


class Teacher(Protocol):
    """A frozen network with its own input size, colors and normalization."""

    manifest: Manifest
    feature_channels: int | None
    """Channels of the features; None if it gives none."""

    def __call__(self, frames_nhwc_u8: Tensor) -> TeacherOutput:
        """Runs the teacher.

        Args:
            frames_nhwc_u8: Crops, N x H x W x 3, BGR, 0..255, on any device.

        Returns:
            What it says, on the same device, without gradient.
        """
        ...


class TorchTeacher:
    """A checkpoint as a teacher; it is fully convolutional, so it runs at the size of the crop."""

    def __init__(self, module: nn.Module, manifest: Manifest, feature_layer: str | None = None) -> None:
        self.manifest = manifest
        self.feature_channels = None if feature_layer is None else feature_channels(module, feature_layer, "teacher")
        self._feature_layer = feature_layer
        self._module = module.eval().requires_grad_(False)
        self._normalize = Normalize(manifest.input)

    def __call__(self, frames_nhwc_u8: Tensor) -> TeacherOutput:
        """Runs the teacher; see `Teacher`."""
        device = frames_nhwc_u8.device
        self._module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        watched: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self._feature_layer is not None:
            watched = features_into(self._module, self._feature_layer)
        with torch.no_grad(), watched as seen:
            logits = self._module(self._normalize.to(device)(frames_nhwc_u8))
        features = seen[0].float() if seen else None
        return TeacherOutput(as_teacher_logits(logits, self.manifest, frames_nhwc_u8), features)
