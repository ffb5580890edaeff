"""Says how much a label of a frame would teach, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jetseg.evaluation.estimator import expected_overlaps
from jetseg.evaluation.evidence import Evidence
from jetseg.evaluation.profile import Mahalanobis, joint_vectors
from jetseg.evaluation.signals import Signals, Vector
from jetseg.manifest import Manifest

_RARE_PERCENT = 2.0
"""Of the picture, below which a class counts as rare."""
_WEIGHTS: Mapping[str, float] = {"doubt": 1.0, "unlike": 0.5, "rare": 0.5}
_SHARES = 3.0
"""What a class map counts against the picture, in how alike two frames are."""


@dataclass(frozen=True)
class FrameWorth:
    """How much a label of one frame would teach.

    Attributes:
        score: The sum of the reasons by their weights, 0 to 2.
        reasons: "doubt": mean over the classes of what is expected to be wrong, so that a small class counts as much
            as a large one; the share of edges where there are no scores. "unlike": how far picture and class shares are
            from those at calibration. "rare": how much there is of classes that were rare at calibration. All 0 to 1.
        place: Where the frame is among others: near frames show about the same.
    """

    score: float
    reasons: dict[str, float]
    place: Vector


class WorthMeter:
    """Measures frame after frame.

    Args:
        manifest: The engine's; without a profile, only doubt is known.
    """

    def __init__(self, manifest: Manifest) -> None:
        profile = manifest.profile
        joint = profile.joint if profile else {}
        self._distances = {name: Mahalanobis(joint[name]) for name in ("scene", "classes") if name in joint}
        self._normal = {name: profile.quantiles[name] for name in self._distances} if profile else {}
        shares = profile.class_percent if profile else {}
        self._rare = {
            index: max(shares[name][0], 0.05) / 100
            for index, name in enumerate(manifest.classes)
            if name in shares and shares[name][0] < _RARE_PERCENT
        }

    def measure(self, signals: Signals, evidence: Evidence) -> FrameWorth:
        """Measures one frame."""
        overlaps = expected_overlaps(evidence)
        doubt = 1 - float(np.mean(overlaps)) if overlaps else min(1.0, 2 * float(evidence.edges.sum()))
        reasons = {"doubt": doubt, "unlike": self._unlike(signals), "rare": self._rarity(evidence)}
        place = np.concatenate([signals.scene, _SHARES * np.sqrt(evidence.pixels)])
        score = sum(weight * reasons[name] for name, weight in _WEIGHTS.items())
        return FrameWorth(round(score, 4), {name: round(value, 4) for name, value in reasons.items()}, place)

    def _unlike(self, signals: Signals) -> float:
        """Half is what only 1 % of the frames at calibration reached."""
        vectors = joint_vectors(signals)
        beyond = [
            distance(vectors[name]) / max(self._normal[name][2], 1e-6) for name, distance in self._distances.items()
        ]
        return max(beyond) / (1 + max(beyond)) if beyond else 0.0

    def _rarity(self, evidence: Evidence) -> float:
        """Half is where rare classes have twice their usual share."""
        found = [float(evidence.pixels[index]) / usual for index, usual in self._rare.items()]
        mean = float(np.mean(found)) if found else 0.0
        return mean / (2 + mean)
