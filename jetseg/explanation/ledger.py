"""The counts of several networks on the same frames, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetseg.explanation.counting import Counted, Key

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """What one network got right on each frame.

    Attributes:
        keys: What was counted.
        hits: Frames x keys: how many are right.
        totals: Frames x keys: of how many.
        reliability: Frames x 3 x bins, see `jetseg.explanation.counting.reliability`; None without confidence.
    """

    keys: tuple[Key, ...]
    hits: Array
    totals: Array
    reliability: Array | None = None


def gather(networks: Sequence[Sequence[Counted]], reliability: Sequence[Sequence[Array | None]]) -> tuple[Counts, ...]:
    """Brings what was counted for several networks into tables with the same keys.

    Args:
        networks: For each network, what was counted on each frame.
        reliability: Likewise, the pixels by confidence.
    """
    keys = tuple(dict.fromkeys(key for frames in networks for counted in frames for key in counted))
    places = {key: place for place, key in enumerate(keys)}
    tables = []
    for frames, bins in zip(networks, reliability, strict=True):
        table = np.zeros((2, len(frames), len(keys)))
        for number, counted in enumerate(frames):
            for key, share in counted.items():
                table[:, number, places[key]] = share
        known = [found for found in bins if found is not None]
        sorted_pixels = np.stack(known) if known and len(known) == len(bins) else None
        tables.append(Counts(keys, table[0], table[1], sorted_pixels))
    return tuple(tables)


def with_conditions(counts: Counts, groups: Mapping[str, npt.NDArray[np.bool_]]) -> Counts:
    """Adds the share of pixels that are right in frames of some kind.

    Args:
        counts: Of one network.
        groups: By name, which frames belong to it.
    """
    pixels = counts.keys.index(Key("pixels"))
    members = np.stack(list(groups.values()), axis=1).astype(np.float64)
    return Counts(
        (*counts.keys, *(Key("condition", "", name) for name in groups)),
        np.concatenate([counts.hits, counts.hits[:, [pixels]] * members], axis=1),
        np.concatenate([counts.totals, counts.totals[:, [pixels]] * members], axis=1),
        counts.reliability,
    )
