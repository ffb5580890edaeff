"""Heads that turn the backbones of the libraries into segmentation networks, in the forms that people use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]


def upsampled(logits: Tensor, size: Size) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


class Summed(nn.Module):
    """Brings every stage to one width and size, adds them up, classifies: a small feature pyramid (FPN)."""

    def __init__(self, backbone: nn.Module, channels: Sequence[int], num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        stages = self.backbone(image)
        total = self.lateral[-1](stages[-1])
        for lateral, stage in zip(reversed(self.lateral[:-1]), reversed(stages[:-1]), strict=True):
            total = lateral(stage) + F.interpolate(total, stage.shape[2:], mode="nearest")
        return upsampled(self.classifier(self.smooth(total)), image.shape[2:])


class Joined(nn.Module):
    """Upsamples every stage to the finest one and concatenates them, as HRNet and SegFormer do.

    Gives a dict with an auxiliary head beside the main one, the convention of torchvision.
    """

    def __init__(self, backbone: nn.Module, channels: Sequence[int], num_classes: int, width: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        self.fuse = nn.Sequential(nn.Conv2d(sum(channels), width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.aux_classifier = nn.Conv2d(channels[-1], num_classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stages = self.backbone(image)
        size = stages[0].shape[2:]
        whole = torch.cat([stages[0], *(upsampled(stage, size) for stage in stages[1:])], dim=1)
        logits = self.classifier(self.fuse(whole))
        return {
            "out": upsampled(logits, image.shape[2:]),
            "aux": upsampled(self.aux_classifier(stages[-1]), image.shape[2:]),
        }


class LiteReducedAspp(nn.Module):
    """LR-ASPP of MobileNetV3 (Howard et al., arXiv:1905.02244): a pooled gate over the last stage, one fine skip."""

    def __init__(self, backbone: nn.Module, fine: int, coarse: int, num_classes: int, width: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        self.branch = nn.Sequential(nn.Conv2d(coarse, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(coarse, width, 1, bias=False), nn.Sigmoid())
        self.low = nn.Conv2d(fine, num_classes, 1)
        self.high = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine, coarse = self.backbone(image)
        gated = self.branch(coarse) * self.gate(coarse)
        logits = self.low(fine) + self.high(upsampled(gated, fine.shape[2:]))
        return {"out": upsampled(logits, image.shape[2:])}


class OfTokens(nn.Module):
    """A linear classifier on the patch tokens of a vision transformer (Segmenter, DINOv2's linear probe)."""

    def __init__(self, encoder: nn.Module, width: int, prefix: int, patch: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(width, num_classes)
        self.prefix, self.patch = prefix, patch

    def forward(self, image: Tensor) -> Tensor:
        found: Any = self.encoder(image)
        tokens = found if isinstance(found, Tensor) else found.last_hidden_state
        height, width = image.shape[2] // self.patch, image.shape[3] // self.patch
        logits = self.classifier(tokens[:, self.prefix :]).transpose(1, 2).unflatten(2, (height, width))
        return upsampled(logits, image.shape[2:])
