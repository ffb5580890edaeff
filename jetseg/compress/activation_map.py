"""Class activation maps for segmentation: which places in a picture speak for a class at chosen pixels."""

from __future__ import annotations

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetseg.network import Network
from jetseg.postprocess import resize_class_map
from jetseg.preprocess import FrameU8, Preprocessor
from jetseg.training.checkpoint import load_checkpoint


def class_activation(
    network: Network, frame_hwc_u8: FrameU8, where_hw: npt.NDArray[np.bool_], number: int
) -> npt.NDArray[np.float32] | None:
    """Returns Seg-Grad-CAM (Vinogradova et al., arXiv:2002.11434) of a checkpoint for one class.

    The layer is the last one of the lowest resolution: where the network has seen most of the picture.

    Args:
        network: The checkpoint.
        frame_hwc_u8: uint8, height x width x 3, BGR.
        where_hw: The pixels whose class is asked about, as those of one object; of any size.
        number: The class.

    Returns:
        float32, at the network's output size, 0..1; None where no place speaks for the class, or no pixel is asked
        about.

    Raises:
        ArtifactError: The checkpoint is broken.
    """
    module, manifest = load_checkpoint(network)
    image = torch.from_numpy(Preprocessor(manifest.input)(frame_hwc_u8).copy())
    layer = _deepest(module, image)
    if layer is None:
        return None
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    try:
        logits = module(image.requires_grad_(True))
    finally:
        handle.remove()
    asked = resize_class_map(where_hw.astype(np.uint8), *logits.shape[2:]) > 0
    if not asked.any():
        return None
    (slopes,) = torch.autograd.grad(logits[0, number][torch.from_numpy(asked)].sum(), kept[-1])
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    speaks = torch.relu((weights * kept[-1].detach()).sum(dim=1, keepdim=True))
    largest = float(speaks.max())
    if largest <= 0:
        return None
    resized = F.interpolate(speaks / largest, logits.shape[2:], mode="bilinear", align_corners=False)
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)


def _deepest(module: nn.Module, image: Tensor) -> nn.Module | None:
    """Returns the last convolution, in the order in which they run, of the lowest resolution above a single pixel."""
    ran: list[tuple[int, nn.Module]] = []
    handles = [
        layer.register_forward_hook(
            lambda layer, _inputs, output: ran.append((output.shape[2] * output.shape[3], layer))
        )
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            module(image)
    finally:
        for handle in handles:
            handle.remove()
    sizes = [size for size, _ in ran if size > 1]
    return next((layer for size, layer in reversed(ran) if sizes and size == min(sizes)), None)
