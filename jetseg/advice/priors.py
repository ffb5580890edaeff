"""Priors: figures of other networks that stand where this one cannot be measured here, each with its source.

They are guesses about the network at hand, and called so wherever they are told.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prior:
    """A figure of another network, and where it stands."""

    value: float
    source: str


TWO_FOUR_SPEEDUP = Prior(
    1.2,
    "published, NVIDIA, Accelerating Inference with Sparsity Using the NVIDIA Ampere Architecture and TensorRT: at "
    "most 1.2 with TensorRT 8.0 on A100, the more the larger the batch",
)
TWO_FOUR_DROP_TRAINED = Prior(
    1.2, "measured by jetseg on CamVid with Fast-SCNN, 8 epochs with 2:4 and without (1.7 on val, 0.7 on test)"
)
DISTILLATION_SHARE = Prior(
    0.35,
    "published, CIRKD (arXiv:2204.06986): DeepLabV3-R18 of 74.21 with a teacher of 78.07, channel-wise distillation "
    "75.55, CIRKD 76.38",
)
DISTILLATION_DISTANCE = 3.9
"""Points between student and teacher in that paper; nothing is expected from a distance beyond."""
QAT_RECOVERS = Prior(
    0.7,
    "published, PaddleSlim's quantization-aware training with distillation on Cityscapes: PP-LiteSeg 77.04 to 76.93, "
    "UNet 65.00 to 64.93; without training, INT8 of such networks loses 0.2 to 5 points (MMDeploy)",
)
CITYSCAPES_MIOU = {
    "fast-scnn": Prior(68.6, "Poudel et al., arXiv:1902.04502"),
    "ddrnet-23-slim": Prior(77.8, "Hong et al., arXiv:2101.06085"),
}
"""mIoU on Cityscapes val of networks of the registry, as their papers give it."""
