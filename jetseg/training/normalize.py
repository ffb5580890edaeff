"""The network's input made from uint8 batches in torch; the same numbers as `jetseg.preprocess`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jetseg.input_spec import InputSpec

GRAY_BITS = 15
GRAY_BGR = (3735, 19235, 9798)
"""OpenCV's integer weights of blue, green and red for gray, in 1 / 2**15 (ITU-R BT.601)."""


class Normalize(nn.Module):
    """Turns BGR bytes into what a network eats: (pixel * scale - mean) / std in its color order.

    Bytes travel from the loader to the device, floats are made there: a quarter of the traffic.

    Args:
        spec: The input part of the network's manifest; its size is not looked at.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.color = spec.color
        mean = torch.tensor(spec.mean, dtype=torch.float64)
        std = torch.tensor(spec.std, dtype=torch.float64)
        shape = (1, spec.channels, 1, 1)
        self.register_buffer("factor", (spec.scale / std).float().view(shape), persistent=False)
        self.register_buffer("offset", (-mean / std).float().view(shape), persistent=False)

    def forward(self, frames_nhwc_u8: Tensor) -> Tensor:
        """Normalizes a batch.

        Args:
            frames_nhwc_u8: Frames, N x height x width x 3, BGR, 0..255 (uint8, or float after a resize).

        Returns:
            float32, N x channels x height x width, in channels-last memory.
        """
        pixels = frames_nhwc_u8.permute(0, 3, 1, 2)
        if self.color == "rgb":
            pixels = pixels.flip(1)
        elif self.color == "gray":
            pixels = _gray(pixels)
        return torch.addcmul(self.offset, pixels.to(torch.float32), self.factor)


def _gray(pixels_nchw: Tensor) -> Tensor:
    weights = torch.tensor(GRAY_BGR, device=pixels_nchw.device).view(1, 3, 1, 1)
    total = (pixels_nchw.round().to(torch.int32) * weights).sum(1, keepdim=True)
    return (total + (1 << (GRAY_BITS - 1))) >> GRAY_BITS
