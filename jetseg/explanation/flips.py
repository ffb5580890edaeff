"""Pixels that changed their class, by how sure the parent was of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetseg.explanation.prediction import Prediction
from jetseg.explanation.scene import Scene

UNDECIDED, CONFIDENT = 0.2, 0.8
"""Margins between the likeliest class and the next below which a pixel is undecided, and above which it is sure."""


@dataclass(frozen=True)
class Flips:
    """Labelled pixels that changed their class.

    Attributes:
        pixels: All labelled pixels.
        changed: Those that changed; the sum of the others, where the parent gives probabilities.
        undecided: Those of which the parent was undecided.
        sure_right: Those of which it was sure, and right.
        sure_wrong: Those of which it was sure, and wrong.
        between: The others.
        lost: Right before, wrong now.
        gained: Wrong before, right now.
    """

    pixels: int = 0
    changed: int = 0
    undecided: int | None = None
    sure_right: int | None = None
    sure_wrong: int | None = None
    between: int | None = None
    lost: int = 0
    gained: int = 0

    def __add__(self, other: Flips) -> Flips:
        """Adds up those of several frames."""

        def total(first: int | None, second: int | None) -> int | None:
            return None if first is None or second is None else first + second

        return Flips(
            self.pixels + other.pixels,
            self.changed + other.changed,
            total(self.undecided, other.undecided),
            total(self.sure_right, other.sure_right),
            total(self.sure_wrong, other.sure_wrong),
            total(self.between, other.between),
            self.lost + other.lost,
            self.gained + other.gained,
        )


def count_flips(scene: Scene, parent: Prediction, child: Prediction) -> Flips:
    """Counts the labelled pixels of a frame that changed their class."""
    scored = scene.scored_hw
    changed = (parent.ids_hw_u8 != child.ids_hw_u8) & scored
    was_right, is_right = (ids == scene.label_hw_u8 for ids in (parent.ids_hw_u8, child.ids_hw_u8))
    pixels, count = int(scored.sum()), int(changed.sum())
    lost, gained = int((changed & was_right).sum()), int((changed & is_right).sum())
    if parent.margin_hw is None:
        return Flips(pixels, count, lost=lost, gained=gained)
    margins, right = parent.margin_hw[changed], was_right[changed]
    undecided, sure = int((margins < UNDECIDED).sum()), margins >= CONFIDENT
    sure_right, sure_wrong = int(np.count_nonzero(sure & right)), int(np.count_nonzero(sure & ~right))
    return Flips(pixels, count, undecided, sure_right, sure_wrong, count - undecided - int(sure.sum()), lost, gained)
