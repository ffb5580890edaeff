"""Opens the libraries that the networks come from; none of them downloads anything here."""

from __future__ import annotations

import os
from types import ModuleType

import torch

_ABSENT = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None


def timm() -> ModuleType:
    _offline()
    import timm

    return timm


def smp() -> ModuleType:
    _offline()
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def transformers() -> ModuleType:
    _offline()
    import transformers

    return transformers


def _offline() -> None:
    """Lets torchvision be imported beside a torch that its compiled operators were not built for."""
    global _library  # noqa: PLW0603 - the operators vanish with the object that defined them
    os.environ["HF_HUB_OFFLINE"] = "1"
    if _library is None and not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")
        for signature in _ABSENT:
            _library.define(signature)
