"""What was measured on an artifact, as its manifest records it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from jetseg.config import Record


class OrganScore(Record):
    """How well an organ was found in volumes: means over those in which it is, in the labels or the answers.

    Attributes:
        cases: In how many it is.
        dice: Dice coefficient in percent.
        iou: Intersection over union in percent.
        hd95_mm: 95th percentile of the surface distances, the larger of both directions; where one of the two surfaces
            is missing, the diagonal of the volume.
        nsd: Normalized surface Dice in percent: the part of both surfaces that lies within the tolerance of the other.
        volume_ml: Its labelled volume.
        volume_error_ml: Size of the error of its volume.
        lesions_found: Lesions that were touched, where lesions are counted.
        lesions_missed: Those that were not.
        lesions_false: Answers that touch no lesion.
    """

    cases: int
    dice: float | None
    iou: float | None
    hd95_mm: float | None
    nsd: float | None
    volume_ml: float
    volume_error_ml: float
    lesions_found: int | None = None
    lesions_missed: int | None = None
    lesions_false: int | None = None


class VolumeAccuracy(Record):
    """What was measured in volumes, in their own voxels: by organ, in percent and millimeters.

    Attributes:
        cases: How many volumes, or ranges of slices that were held out.
        tolerance_mm: Error of a surface that counts as none.
        organs: By class, the background apart.
    """

    cases: int
    tolerance_mm: float
    organs: dict[str, OrganScore]

    @property
    def dice(self) -> float | None:
        """Mean over the organs."""
        return _mean([organ.dice for organ in self.organs.values()])

    @property
    def nsd(self) -> float | None:
        """Mean over the organs."""
        return _mean([organ.nsd for organ in self.organs.values()])

    @property
    def hd95_mm(self) -> float | None:
        """Mean over the organs."""
        return _mean([organ.hd95_mm for organ in self.organs.values()])

    @property
    def lesions_missed(self) -> float | None:
        """Sum over the classes whose lesions are counted."""
        counted = [organ.lesions_missed for organ in self.organs.values() if organ.lesions_missed is not None]
        return sum(counted) if counted else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


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
    volumes: VolumeAccuracy | None = None

    @property
    def per_class_dice(self) -> dict[str, float | None]:
        """Dice coefficient of each class, in percent, as medical work quotes it: 2 IoU / (1 + IoU)."""
        return {name: None if iou is None else 200.0 * iou / (100.0 + iou) for name, iou in self.per_class_iou.items()}

    @property
    def mean_dice(self) -> float | None:
        """Mean of the classes' Dice coefficients, in percent."""
        return _mean(list(self.per_class_dice.values()))

    def metric(self, name: str) -> float | None:
        """Returns dice, nsd, hd95_mm or lesions_missed of the volumes; dice of frames where there are no volumes."""
        if self.volumes is not None:
            return getattr(self.volumes, name, None)
        return self.mean_dice if name == "dice" else None


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
        normal: The figures of these windows, by which distance is told: the farther, the wider the intervals.
        miou: From the figures of a window to its mIoU.
        classes: From the figures of a class to its IoU, for each class that was there often enough.
        miou_error: What the estimate of mIoU was off by at most in nine of ten windows of a corruption that was left
            out, in logarithms of odds, over what the distance widens an interval by.
        class_error: Likewise for the IoU of each class.
        mean_error: Mean of these errors of mIoU, in percent.
    """

    data: str
    split: str
    target: Literal["labels", "agreement"]
    window: int = Field(ge=1)
    windows: int = Field(ge=1)
    temperature: float = Field(gt=0)
    normal: JointNormal
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
