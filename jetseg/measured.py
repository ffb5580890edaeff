"""What was measured on an artifact, as its manifest records it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from jetseg.config import Record


class Accuracy(Record):
    """An accuracy in percent: measured, or `simulated` where the machine cannot run the engine.

    `tasks` holds the figures of each task, by its name, of a network with several, or with depth: "miou" and "iou" (of
    the second of two classes) in percent, "rmse" and "abs_rel" of depth; see `jetseg.evaluation.tasks`.
    """

    data: str
    split: str
    frames: int
    miou: float | None
    pixel_accuracy: float | None
    per_class_iou: dict[str, float | None]
    simulated: bool = False
    tasks: dict[str, dict[str, float | None]] = Field(default_factory=dict)

    @property
    def per_class_dice(self) -> dict[str, float | None]:
        """Dice coefficient of each class, in percent, as medical work quotes it: 2 IoU / (1 + IoU)."""
        return {name: None if iou is None else 200.0 * iou / (100.0 + iou) for name, iou in self.per_class_iou.items()}

    @property
    def mean_dice(self) -> float | None:
        """Mean of the classes' Dice coefficients, in percent."""
        defined = [value for value in self.per_class_dice.values() if value is not None]
        return sum(defined) / len(defined) if defined else None


class Parity(Record):
    """How far an artifact is from the one it was made from, on `frames` inputs.

    Attributes:
        frames: How many.
        max_abs_error: Largest difference of the logits; None if they were not compared.
        argmax_agreement: Fraction of the pixels that got the same class, 0 to 1.
    """

    frames: int
    max_abs_error: float | None = None
    argmax_agreement: float


class JointNormal(Record):
    """Several quantities that are judged together: their means, standard deviations and correlations."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    correlation: tuple[tuple[float, ...], ...]


class Profile(Record):
    """What frames and answers looked like when the engine was built; the drift monitor learns its bounds from it.

    Attributes:
        data: Kind of the dataset.
        split: Its split.
        frames: How many frames were measured.
        quantiles: 1 %, 50 % and 99 % of each signal of `jetseg.evaluation.signals`.
        joint: Signals that are vectors: colors, scene, classes.
        class_percent: Mean and standard deviation of each class's share of the picture, in percent.
        agreement_miou: mIoU of the engine against its parent on these frames, in percent; None if not measured.
    """

    data: str
    split: str
    frames: int
    quantiles: dict[str, tuple[float, float, float]]
    joint: dict[str, JointNormal]
    class_percent: dict[str, tuple[float, float]]
    agreement_miou: float | None = None


class LinearModel(Record):
    """A straight line over some figures, which gives a logarithm of odds."""

    intercept: float
    slopes: tuple[float, ...]


class Estimator(Record):
    """How right a network is, as far as its own answers tell; learned when it was built, for a vehicle without labels.

    Attributes:
        data: Kind of the dataset that it was learned on.
        split: Its split.
        target: "labels", or "agreement" where the frames had none: then all figures are against the parent network.
        window: Frames that one estimate is for.
        windows: How many windows it was learned from, corrupted ones and clean ones.
        temperature: What scores are divided by; 1 where the output is a class map.
        normal: The square roots of the shares of the classes in these windows, void last.
        edge: Median distance from it of windows of a corruption that was left out; farther, intervals are wider.
        miou: From the figures of a window to its mIoU.
        classes: From the figures of a class to its IoU, for each class that was there often enough.
        miou_error: What the estimate of mIoU was off by at most in nine of ten windows of a corruption that was left
            out, in percent, for one that is not farther than the edge.
        class_error: Likewise for the IoU of each class.
        mean_error: Mean of these errors of mIoU, in percent.
    """

    data: str
    split: str
    target: Literal["labels", "agreement"]
    window: int = Field(ge=1)
    windows: int
    temperature: float = Field(gt=0)
    normal: JointNormal
    edge: float = Field(gt=0)
    miou: LinearModel
    classes: dict[str, LinearModel]
    miou_error: float
    class_error: dict[str, float]
    mean_error: float


class Proof(Record):
    """What a drawn frame and drawn scores become by a manifest; see `jetseg.engine.proof`.

    Attributes:
        input: Some values of the prepared frame.
        class_pixels: How many pixels are of each class, and void, in the class map of the drawn scores.
        further: The same of each output beside the main one; of a depth output how many pixels are in each eighth of
            its range.
    """

    input: tuple[float, ...]
    class_pixels: tuple[int, ...]
    further: tuple[tuple[int, ...], ...] = ()
