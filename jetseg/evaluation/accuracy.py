"""Scores a network, however it runs, on a labelled dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from jetseg.data.contract import Sample, Split, VolumetricSplit
from jetseg.data.dataset import match_input
from jetseg.errors import DataError
from jetseg.evaluation.confusion import ConfusionMatrix, Score
from jetseg.evaluation.volumes import summarize, volume_meter
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8
from jetseg.progress import track

Labels = Literal["needed", "optional"]
_WITHOUT_LABELS = "Without labels, a `reference` network tells where two networks differ, as `jetseg parity` does."


def measure_accuracy(
    predict: Callable[[FrameU8], ClassMap],
    manifest: Manifest,
    dataset: Split,
    *,
    frames: int | None = None,
    description: str = "Evaluating",
) -> Score:
    """Scores a network on a dataset split, at the resolution of the labels.

    Args:
        predict: Frame (uint8, BGR, H x W x 3) to class map (uint8, any size; resized by nearest neighbor).
        manifest: The network's manifest; its classes must be the dataset's.
        dataset: The split.
        frames: Score only this many frames, spread evenly over the split; all by default.
        description: Text of the progress bar.

    Returns:
        Accuracy in percent.

    Raises:
        DataError: The classes differ, or a frame has no label.
    """
    dataset = match_input(dataset, manifest.input)
    check_frames(manifest.classes, dataset, frames=frames, purpose="to score against", advice=_WITHOUT_LABELS)
    confusion, chosen = ConfusionMatrix(dataset.classes, dataset.ignore_index), spread(len(dataset), frames)
    volumes = volume_meter(dataset, chosen)
    for index in track(chosen, description):
        sample = dataset[index]
        if sample.label_hw_u8 is None:
            raise DataError(
                f"{dataset.spec} ({dataset.split}): frame {sample.name} has no label to score against.",
                _WITHOUT_LABELS,
            )
        prediction = predict(sample.image_hwc_u8)
        confusion.update(sample.label_hw_u8, resize_class_map(prediction, *sample.label_hw_u8.shape[:2]))
        if volumes is not None:
            volumes.add(index, prediction)
    score = confusion.score()
    return score if volumes is None else replace(score, cases=tuple(volumes.cases))


def check_frames(
    classes: Sequence[str],
    dataset: Split,
    *,
    frames: int | None = None,
    labels: Labels = "needed",
    purpose: str = "",
    advice: str = "Give a split with labels.",
) -> bool:
    """Looks whether a split serves a network, before any long work on it: only the first frame is decoded.

    Args:
        classes: The network's.
        dataset: The split.
        frames: Only this many frames of it count, spread evenly; all by default.
        labels: Whether there must be labels; where they are "optional" and absent, the classes do not matter.
        purpose: What labels are for, as in "to learn from", for the message.
        advice: What to do without labels.

    Returns:
        Whether the frames have labels, of one pixel at least.

    Raises:
        DataError: There are no frames, the classes differ, or the labels are missing or all ignored.
    """
    place = f"{dataset.spec} ({dataset.split})"
    if len(dataset) == 0:
        raise DataError(f"{place} has no frames{purpose and f' {purpose}'}.", "Choose another split.")
    indices = spread(len(dataset), frames)
    first = dataset[indices[0]]
    if first.label_hw_u8 is None:
        if labels == "optional":
            return False
        raise DataError(f"{place}: frame {first.name} has no label{purpose and f' {purpose}'}.", advice)
    if dataset.classes:
        check_classes(classes, dataset.classes, dataset.spec)
    if not any(_is_labelled(dataset[index], dataset.ignore_index) for index in indices):  # ends at the first that is
        if labels == "optional":
            return False
        raise DataError(
            f"{place} has no labelled pixel{purpose and f' {purpose}'}: all have the ignored id "
            f"{dataset.ignore_index}.",
            "Choose another split.",
        )
    return True


def _is_labelled(sample: Sample, ignore_index: int | None) -> bool:
    return sample.label_hw_u8 is not None and bool((sample.label_hw_u8 != ignore_index).any())


def check_classes(network: Sequence[str], dataset: Sequence[str], spec: str) -> None:
    """Refuses to score a network against labels that mean something else.

    Raises:
        DataError: The class lists differ in length, name or order.
    """
    if tuple(network) != tuple(dataset):
        raise DataError(
            f"The network's classes are {', '.join(network)}; those of {spec} are {', '.join(dataset)}.",
            "Use the dataset that the network was trained for, or correct `classes` in the manifest.",
        )


def spread(length: int, count: int | None) -> list[int]:
    """Returns `count` indices spread evenly over `length` items; all of them if `count` is None or too large.

    >>> spread(10, 4)
    [0, 2, 5, 7]
    """
    if count is None or count >= length:
        return list(range(length))
    return [index * length // count for index in range(count)]


def as_record(score: Score, dataset: Split) -> Accuracy:
    """Turns a score into the manifest's record of it, rounded to two decimals."""

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 2)

    return Accuracy(
        data=dataset.spec.split(":", 1)[0],
        split=dataset.split,
        frames=score.frames,
        miou=rounded(score.miou),
        pixel_accuracy=rounded(score.pixel_accuracy),
        per_class_iou={name: rounded(value) for name, value in score.per_class_iou.items()},
        volumes=summarize(score.cases, dataset) if score.cases and isinstance(dataset, VolumetricSplit) else None,
    )
