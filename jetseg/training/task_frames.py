"""Frames with the labels of several tasks: planes of one float array, not a number where nothing is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from jetseg.data.augment import augment
from jetseg.data.contract import Split
from jetseg.data.dataset import select_targets
from jetseg.errors import DataError
from jetseg.evaluation.tasks import truth_of
from jetseg.output_spec import OutputSpec
from jetseg.preprocess import FrameU8, resize_frame
from jetseg.training.config import TrainConfig
from jetseg.training.loaders import Batch, Crops, LabelledFrames, open_labelled_split

Planes = npt.NDArray[np.float32]
"""H x W x number of tasks."""


class TaskFrames(LabelledFrames):
    """Frames whose label has a plane for each task; see `LabelledFrames`.

    Args:
        source: The split, which gives the targets; see `select_targets`.
        indices: Frames of it to show.
        cache_mb: Keep the decoded frames if they need no more than this.
        outputs: The tasks, by their names as targets.
    """

    def __init__(self, source: Split, indices: list[int], cache_mb: int, outputs: Sequence[OutputSpec]) -> None:
        self._outputs = tuple(outputs)
        super().__init__(source, indices, cache_mb)

    def _decode(self, index: int) -> tuple[FrameU8, Any]:
        sample = self.source[index]
        planes = np.full((*sample.image_hwc_u8.shape[:2], len(self._outputs)), np.nan, dtype=np.float32)
        for number, output in enumerate(self._outputs):
            truth = truth_of(sample, output.name)
            if truth is not None:
                planes[..., number] = _plane(truth, output)
        return sample.image_hwc_u8, planes


class TaskCrops(Crops):
    """Augmented crops for several tasks: each is a frame, uint8, and planes, float32, H x W x number of tasks."""

    def __init__(self, *arguments: Any, outputs: Sequence[OutputSpec]) -> None:  # noqa: ANN401 - as of `Crops`
        super().__init__(*arguments)
        self._distances = [number for number, output in enumerate(outputs) if output.task == "depth"]

    def __getitem__(self, index: int) -> Batch:
        """Returns a frame and its planes, both of the size of a crop."""
        frame, planes = self._frames[index]
        image, labels = augment(
            resize_frame(frame, *self._size),
            resize_planes(np.asarray(planes, np.float32), *self._size),
            self._config,
            np.random.default_rng((self._seed, self.epoch, index)),
            ignore_index=None,
            distances=self._distances,
        )
        return torch.from_numpy(image), torch.from_numpy(labels)


def open_task_splits(config: TrainConfig) -> tuple[Split, Split, tuple[OutputSpec, ...]]:
    """Opens the splits to learn from and to watch, with the targets of `config.tasks`.

    Returns:
        Both splits, and an output for each task, named after its target.

    Raises:
        DataError: A split is missing or empty, or does not know a task.
    """
    learn_from, outputs = select_targets(open_labelled_split(config.data, config.split), config.tasks)
    watched, others = select_targets(open_labelled_split(config.data, config.eval_split), config.tasks)
    for mine, other in zip(outputs, others, strict=True):
        if mine.classes != other.classes:
            raise DataError(
                f"{config.data}: the classes of {mine.label} differ between {config.split} and {config.eval_split}.",
                "Give splits with the same classes.",
            )
    return learn_from, watched, outputs


def resize_planes(planes: Planes, height: int, width: int) -> Planes:
    """Resizes each plane by nearest neighbor."""
    if planes.shape[:2] == (height, width):
        return planes
    resized = cv2.resize(planes, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.float32).reshape(height, width, planes.shape[2])


def _plane(truth: npt.NDArray[Any], output: OutputSpec) -> npt.NDArray[np.float32]:
    plane = truth.astype(np.float32)
    if output.ignore_index is not None:
        plane[truth == output.ignore_index] = np.nan
    return plane
