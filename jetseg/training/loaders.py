"""Feeds crops to the loop: order and augmentation depend on (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import cv2
import lightning_fabric
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jetseg.data.augment import AugmentConfig, augment
from jetseg.data.contract import Split
from jetseg.data.dataset import open_split
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import check_frames, spread
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8, resize_frame
from jetseg.progress import track
from jetseg.training.config import TrainConfig

Batch = tuple[Tensor, Tensor]


class LabelledFrames:
    """Some frames of a dataset with their labels, decoded once if they are small enough to keep.

    Args:
        source: The dataset underneath.
        indices: Frames of it to show, in this order.
        cache_mb: Keep the decoded frames if they need no more than this; else decode at each use.
    """

    def __init__(self, source: Split, indices: list[int], cache_mb: int) -> None:
        self.source = source
        self._indices = indices
        self._kept: list[tuple[FrameU8, ClassMap]] | None = None
        image, label = self._decode(indices[0])
        if (image.nbytes + label.nbytes) * len(indices) <= cache_mb * 1e6:
            self._kept = [self._decode(index) for index in track(indices, f"Reading {source.split}")]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[FrameU8, ClassMap]:
        """Returns a BGR frame, H x W x 3, and its label, H x W; both uint8, not to be changed.

        Raises:
            DataError: The frame has no label, or its file is broken.
        """
        return self._decode(self._indices[index]) if self._kept is None else self._kept[index]

    def __iter__(self) -> Iterator[tuple[FrameU8, ClassMap]]:
        return (self[index] for index in range(len(self)))

    def _decode(self, index: int) -> tuple[FrameU8, ClassMap]:
        sample = self.source[index]
        if sample.label_hw_u8 is None:
            raise DataError(
                f"{self.source.spec} ({self.source.split}): frame {sample.name} has no label to learn from.",
                "Give a split with labels.",
            )
        return sample.image_hwc_u8, sample.label_hw_u8


def open_splits(config: TrainConfig, classes: Sequence[str] | None = None) -> tuple[Split, Split]:
    """Opens the splits to learn from and to watch the accuracy on, and looks whether they serve; see `check_frames`.

    Args:
        config: Names them.
        classes: The network's; by default those of the first split.

    Raises:
        DataError: A split is missing or empty, has no labels, or other classes.
    """
    learn_from, watched = (open_labelled_split(config.data, split) for split in (config.split, config.eval_split))
    wanted = learn_from.classes if classes is None else classes
    check_frames(wanted, learn_from, frames=config.frames, purpose="to learn from")
    check_frames(wanted, watched, frames=config.frames, purpose="to choose the best epoch by")
    return learn_from, watched


def read_frames(config: TrainConfig, *splits: Split) -> list[LabelledFrames]:
    """Reads the frames of splits, those that are kept in memory at once.

    Raises:
        DataError: A frame is broken.
    """
    return [LabelledFrames(split, spread(len(split), config.frames), config.cache_mb) for split in splits]


def open_labelled_split(spec: str, split: str) -> Split:
    """Opens a split that has frames.

    Raises:
        ConfigError: The spec is malformed.
        DataError: The split is missing or empty.
    """
    dataset = open_split(spec, split)
    if len(dataset) == 0:
        raise DataError(f"{spec} has no frames in split {split}.", "Choose another split.")
    return dataset


class Crops(Dataset[Batch]):
    """Augmented crops of a dataset.

    Args:
        frames: Labelled frames.
        size: Height and width of a whole frame for the network; frames are resized to it before the crop.
        config: How much a frame may change.
        seed: Decides the change, together with `epoch` and the index.
    """

    def __init__(self, frames: LabelledFrames, size: tuple[int, int], config: AugmentConfig, seed: int) -> None:
        self._frames = frames
        self._size = size
        self._config = config
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Batch:
        """Returns a frame, uint8, crop height x crop width x 3, BGR, and its label, uint8, of that size."""
        frame, label = self._frames[index]
        image, ids = augment(
            resize_frame(frame, *self._size),
            resize_class_map(label, *self._size),
            self._config,
            np.random.default_rng((self._seed, self.epoch, index)),
            ignore_index=self._frames.source.ignore_index,
        )
        return torch.from_numpy(image), torch.from_numpy(ids)


class EpochOrder(Sampler[int]):
    """A permutation per (seed, epoch), dealt out to the processes in equal shares.

    Lightning counts epochs from the start of the process, which would change the order of a resumed run;
    this sampler is told the epoch.
    """

    def __init__(self, length: int, seed: int, rank: int, world: int) -> None:
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


class Feed:
    """The batches of one process, epoch by epoch.

    Args:
        fabric: Puts batches on this process's device.
        crops: Augmented crops.
        batch_size: Crops per batch; fewer if there are not enough frames.
        seed: Decides the order, together with the epoch.
        workers: Loader processes.

    Raises:
        DataError: There are not even two frames per process.
    """

    def __init__(
        self, fabric: lightning_fabric.Fabric, crops: Crops, *, batch_size: int, seed: int, workers: int
    ) -> None:
        self._crops = crops
        self._order = EpochOrder(len(crops), seed, fabric.global_rank, fabric.world_size)
        if len(self._order) < 2:
            raise DataError(
                f"{len(crops)} frames are too few to train on with {fabric.world_size} processes: batch "
                "normalization needs two per process.",
                "Give more frames.",
            )
        loader = DataLoader(
            crops,
            batch_size=min(batch_size, len(self._order)),
            sampler=self._order,
            drop_last=True,
            num_workers=workers,
            pin_memory=fabric.device.type == "cuda",
            worker_init_fn=_use_one_thread,
        )
        self.steps = len(loader)
        """Batches per epoch."""
        self._loader: Iterable[Batch] = cast(
            "Iterable[Batch]", fabric.setup_dataloaders(loader, use_distributed_sampler=False)
        )

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yields the batches of epoch `number`, counted from 0.

        Raises:
            DataError: A frame or a label is broken.
        """
        # loader processes are started anew for each epoch, so they see the new number
        self._crops.epoch = self._order.epoch = number
        try:
            yield from self._loader
        except DataError as error:
            # from a loader process the message comes wrapped in its whole traceback
            raise DataError(error.found.rsplit("DataError: ", 1)[-1].strip(), error.fix) from error


def _use_one_thread(_worker: int) -> None:
    cv2.setNumThreads(1)
