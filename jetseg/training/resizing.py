"""Brings crops to a teacher's size, and its logits back to the student's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jetseg.manifest import Manifest
from jetseg.models.layers import resize_like, two_channels

_LEAST_PROBABILITY = 1e-6
"""Keeps the logarithm of a probability finite."""


def as_teacher_logits(logits: Tensor, manifest: Manifest, frames_nhwc_u8: Tensor) -> Tensor:
    """Cuts channels beyond the classes (void) and brings logits to the size of the crop; one channel becomes two."""
    spec = manifest.output
    logits = logits[:, : spec.channels].float()
    if spec.activation == "none":
        logits = torch.logit(logits, eps=_LEAST_PROBABILITY)
    logits = resize_like(logits, frames_nhwc_u8[..., 0])
    return logits if spec.activation == "softmax" else two_channels(logits)


def resize_batch(frames_nhwc_u8: Tensor, height: int, width: int) -> Tensor:
    """Resizes crops, antialiased; returns them untouched if they have that size.

    Returns:
        float32 0..255 (not rounded) after a resize, else the same uint8 tensor.
    """
    if tuple(frames_nhwc_u8.shape[1:3]) == (height, width):
        return frames_nhwc_u8
    planes = frames_nhwc_u8.permute(0, 3, 1, 2).float()
    resized = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized.clamp(0, 255).permute(0, 2, 3, 1)
