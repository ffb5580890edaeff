"""Feeds crops to the training loop: an order and an augmentation that depend only on (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jetseg.data.augment import augment
from jetseg.data.contract import Sample, SegmentationDataset
from jetseg.errors import ConfigError, DataError
from jetseg.palette import Color
from jetseg.progress import track

Batch = tuple[Tensor, Tensor]


class CachedDataset:
    """Decoded frames in memory, and only some of them if `indices` are given; itself a dataset.

    Args:
        source: The dataset underneath.
        indices: Frames of it to show, in this order.
        cache_mb: Decode once and keep the frames if they need no more than this; else decode at each use.
        description: Text of the progress bar while frames are decoded.
    """

    def __init__(
        self, source: SegmentationDataset, indices: list[int], cache_mb: int, description: str
    ) -> None:
        self.spec = source.spec
        self.split = source.split
        self.classes: tuple[str, ...] = source.classes
        self.palette: tuple[Color, ...] = source.palette
        self.ignore_index = source.ignore_index
        self._source = source
        self._indices = indices
        self._samples: list[Sample] | None = None
        if indices and _size_mb(labelled(source, indices[0])) * len(indices) <= cache_mb:
            self._samples = [labelled(source, index) for index in track(indices, description)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Returns one labelled frame.

        Raises:
            DataError: The frame has no label, or its file is broken.
        """
        if self._samples is not None:
            return self._samples[index]
        return labelled(self._source, self._indices[index])


def labelled(dataset: SegmentationDataset, index: int) -> Sample:
    """Decodes one frame and insists on its label.

    Raises:
        DataError: There is no label.
    """
    sample = dataset[index]
    if sample.label_hw_u8 is None:
        raise DataError(f"{dataset.spec} ({dataset.split}): frame {sample.name} has no label to learn from.")
    return sample


class EpochOrder(Sampler[int]):
    """A permutation per (seed, epoch), dealt out to the processes in equal shares.

    Lightning's own handling of epochs counts from the start of the process, which would change the order of
    a resumed run; this one is told the epoch.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self._length = length
        self._seed = seed
        self._rank = rank
        self._world = world
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._length)
        return iter(order[self._rank : len(self) * self._world : self._world].tolist())

    def __len__(self) -> int:
        return self._length // self._world


class CropDataset(Dataset[Batch]):
    """Augmented uint8 crops of a dataset."""

    def __init__(
        self, frames: CachedDataset, change: Callable[..., tuple[np.ndarray, np.ndarray]], seed: int
    ) -> None:
        self._frames = frames
        self._change = change
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Batch:
        sample = self._frames[index]
        generator = np.random.default_rng((self._seed, self.epoch, index))
        image, label = self._change(sample.image_hwc_u8, sample.label_hw_u8, generator)
        return torch.from_numpy(image), torch.from_numpy(label)
