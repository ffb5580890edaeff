"""Weights as their authors would hand them out: a state_dict of a network trained for a moment on drawn roads.

python -m zoo.weights NAME FILE.pt

Twelve steps are enough that a class map has several classes and that batch norm knows its statistics; with random
weights most networks give every pixel one class, and whatever quantization does to them is not seen.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jetseg.data.synthetic import CLASSES, SyntheticSplit
from jetseg.training.config import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from zoo import adapted, networks

STEPS, BATCH, FRAMES = 12, 2, 8


def main(name: str, path: Path) -> None:
    torch.manual_seed(0)
    network = getattr(networks, name)(len(CLASSES))
    trained = adapted.Logits(network, adapted.main_output(name)).train()
    images, labels = frames(FRAMES)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, STEPS)
    for _ in range(STEPS):
        chosen = torch.randperm(FRAMES)[:BATCH]
        loss = F.cross_entropy(trained(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    _settle_norms_(trained, images)
    torch.save(network.state_dict(), path)
    counted = torch.bincount(trained.eval()(images[:BATCH]).argmax(1).flatten(), minlength=len(CLASSES))
    print(f"{name}: loss {loss.item():.3f}, classes {(counted > 0).sum().item()} of {len(CLASSES)}", file=sys.stderr)


def frames(count: int) -> tuple[Tensor, Tensor]:
    split, size = SyntheticSplit("synthetic", "train", count), (networks.WIDTH, networks.HEIGHT)
    mean, std = np.array(IMAGENET_MEAN_RGB, np.float32), np.array(IMAGENET_STD_RGB, np.float32)
    images, labels = [], []
    for index in range(count):
        sample = split[index]
        image = cv2.resize(sample.image_hwc_u8, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
        images.append(((image / 255 - mean) / std).transpose(2, 0, 1))
        labels.append(cv2.resize(sample.label_hw_u8, size, interpolation=cv2.INTER_NEAREST))
    return torch.from_numpy(np.stack(images)).float(), torch.from_numpy(np.stack(labels)).long()


def _settle_norms_(network: torch.nn.Module, images: Tensor) -> None:
    """Gives batch norms the statistics of the weights as they are now."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for start in range(0, FRAMES, BATCH):
            network(images[start : start + BATCH])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
