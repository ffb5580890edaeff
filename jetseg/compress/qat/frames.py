"""What a run learns from and watches: labelled frames, or frames whose labels are not looked at."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jetseg.data.contract import Sample, Split
from jetseg.manifest import Manifest
from jetseg.output_spec import OutputSpec
from jetseg.preprocess import resize_frame
from jetseg.training.config import TrainConfig
from jetseg.training.loaders import LabelledFrames, open_labelled_split, open_splits, read_frames
from jetseg.training.teacher import Teacher, TeacherOutput

_NEVER = -1e4
"""A logit that leaves a class no probability, whatever the temperature."""


def open_run_frames(
    config: TrainConfig, manifest: Manifest, teacher: Teacher | None, *, labels: bool
) -> tuple[LabelledFrames, LabelledFrames]:
    """Opens the frames to learn from and those to choose the best epoch by.

    Args:
        config: Names the data.
        manifest: The network's.
        teacher: Gives the labels to compare with where there are none.
        labels: False if the frames need no labels.

    Raises:
        DataError: A split is missing or empty, a frame is broken, or the classes are not the network's.
    """
    if labels:
        learn_from, watched = read_frames(config, *open_splits(config, manifest.classes))
        return learn_from, watched
    judges = ((config.split, None), (config.eval_split, teacher))
    learn_from, watched = read_frames(
        config, *(TaughtFrames(open_labelled_split(config.data, split), manifest, judge) for split, judge in judges)
    )
    return learn_from, watched


class TaughtFrames:
    """A split whose labels are what a teacher says; without a teacher they are all 0, for losses without labels.

    Args:
        source: Frames, with or without labels.
        manifest: The network's; gives the size of the labels, and their classes.
        teacher: Teacher of the same classes, or None.
    """

    def __init__(self, source: Split, manifest: Manifest, teacher: Teacher | None) -> None:
        self._source, self._teacher = source, teacher
        self._size = (manifest.input.height, manifest.input.width)
        self.spec, self.split = source.spec, source.split
        self.classes, self.palette = manifest.classes, manifest.colors
        self.ignore_index: int | None = None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        """Returns a frame with its label, at the network's size; both are the teacher's business alone."""
        sample = self._source[index]
        frame = resize_frame(sample.image_hwc_u8, *self._size)
        label = np.zeros(self._size, dtype=np.uint8)
        if self._teacher is not None:
            logits = self._teacher(torch.tensor(frame)[None]).logits[0]
            label = _decide(logits, self._teacher.manifest.output).to(torch.uint8).numpy()
        return Sample(sample.name, frame, label)


def _decide(logits_chw: Tensor, spec: OutputSpec) -> Tensor:
    """Returns the class of each pixel, int64, H x W; the teacher's threshold holds where it told two classes apart."""
    if spec.activation == "softmax":
        return logits_chw.argmax(0)
    return (logits_chw[1] - logits_chw[0] > math.log(spec.threshold / (1 - spec.threshold))).long()


class WithoutVoid:
    """A teacher whose logits have as many channels as the student's; it never says void.

    Args:
        teacher: A teacher of the student's classes.
        channels: Channels of the student's logits; those beyond the classes mean void, and one stands for two classes.
    """

    def __init__(self, teacher: Teacher, channels: int) -> None:
        self.manifest = teacher.manifest
        self._teacher = teacher
        self._extra = max(0, channels - teacher.manifest.num_classes)

    feature_channels: int | None = None

    def __call__(self, frames_nhwc_u8: Tensor) -> TeacherOutput:
        """Runs the teacher; see `jetseg.training.teacher.Teacher`."""
        logits = self._teacher(frames_nhwc_u8).logits
        return TeacherOutput(F.pad(logits, (0, 0, 0, 0, 0, self._extra), value=_NEVER))
