"""How much of a picture each class covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jetseg.postprocess import ClassMap

VOID = "void"


def class_shares(class_map_hw_u8: ClassMap, classes: Sequence[str]) -> dict[str, float]:
    """Returns each class's share of the pixels, 0..1, and that of "void" where there is any.

    >>> class_shares(np.array([[0, 0], [1, 2]], np.uint8), ["sky", "road"])
    {'sky': 0.5, 'road': 0.25, 'void': 0.25}
    """
    counts = np.bincount(class_map_hw_u8.reshape(-1), minlength=len(classes))
    total = max(class_map_hw_u8.size, 1)
    shares = {name: int(count) / total for name, count in zip(classes, counts[: len(classes)], strict=True)}
    void = int(counts[len(classes) :].sum())
    return shares | ({VOID: void / total} if void else {})
