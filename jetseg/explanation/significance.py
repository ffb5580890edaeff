"""Tells losses from noise: which shares fell more than chance among frames explains, all comparisons together.

A claim is tested by exchange (Westfall and Young 1993, with the paired exchange of Fisher): if both networks were
equally good, each frame's answers could be swapped between them. Swapping at random tells how large the largest of
all losses gets by chance, in units of each one's own spread; what is larger is claimed. However many shares are
compared and however they hang together, the probability of a single false claim stays below 1 - confidence.

Intervals are by the bootstrap over frames (Efron 1979), each for its own share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from jetseg.explanation.counting import Key
from jetseg.explanation.ledger import Array, Counts

MIOU, CALIBRATION = Key("miou"), Key("calibration")
_RESAMPLES = 2000
_UNTESTED = frozenset({"seen", "pixels", "objects"})
_CHUNK = 200
"""Resamples at a time, for memory's sake."""


@dataclass(frozen=True)
class Loss:
    """How much worse a share became, in points.

    Attributes:
        key: The share; "miou" and "calibration" (100 - ECE) are made of others.
        before: Percent of the parent.
        after: Percent of the child.
        points: Their difference; above 0 is a loss.
        low: Lower end of its interval.
        high: Upper end.
        p: Probability that the largest of all losses is as large as this by chance.
        claimed: Whether it is told as a loss.
        excess: How much more than all pixels together it lost, and the interval's lower end; parts of pictures only.
        frames: Frames in which it occurs.
    """

    key: Key
    before: float
    after: float
    points: float
    low: float
    high: float
    p: float
    claimed: bool
    excess: tuple[float, float] | None
    frames: int


def compare(parent: Counts, child: Counts, *, confidence: float = 0.95, block: int = 1, seed: int = 0) -> list[Loss]:
    """Compares all shares of two networks on the same frames.

    Args:
        parent: Of the network that was compressed.
        child: Of the smaller one, with the same keys.
        confidence: Probability that no claim is wrong if both are equally good, and that an interval is right.
        block: Neighboring frames that count as one.
        seed: Fixes what is drawn.

    Returns:
        Every share that can be computed for both, the largest loss first.
    """
    pair = _Pair(parent, child, block)
    rng = np.random.default_rng(seed)
    observed = pair.losses(np.ones((1, pair.blocks)))[0]
    low, high, excess_low = _intervals(pair, rng, confidence)
    p = _adjusted(pair, rng, observed)
    before, after = (100 * values[0] for values in pair.values(np.ones((1, pair.blocks))))
    overall = pair.keys.index(Key("pixels"))
    found = []
    for place, key in enumerate(pair.keys):
        if not np.isfinite(observed[place]):
            continue
        parts = key.kind in ("band", "region", "condition")
        excess = (float(observed[place] - observed[overall]), float(excess_low[place])) if parts else None
        claimed = key.kind not in _UNTESTED and p[place] <= 1 - confidence and low[place] > 0
        found.append(
            Loss(
                key,
                before=float(before[place]),
                after=float(after[place]),
                points=float(observed[place]),
                low=float(low[place]),
                high=float(high[place]),
                p=float(p[place]),
                claimed=bool(claimed),
                excess=excess,
                frames=pair.frames_with(place),
            )
        )
    return sorted(found, key=lambda loss: -loss.points)


def _intervals(pair: _Pair, rng: np.random.Generator, confidence: float) -> tuple[Array, Array, Array]:
    """Returns both ends of each loss's interval, and the lower end of how far it exceeds that of all pixels."""
    overall = pair.keys.index(Key("pixels"))
    drawn = []
    for _ in range(0, _RESAMPLES, _CHUNK):
        weights = rng.multinomial(pair.blocks, np.full(pair.blocks, 1 / pair.blocks), size=_CHUNK)
        drawn.append(pair.losses(weights.astype(np.float64)))
    losses = np.concatenate(drawn)
    tail = (1 - confidence) / 2
    low, high = _quantiles(losses, [tail, 1 - tail])
    (excess_low,) = _quantiles(losses - losses[:, [overall]], [tail])
    return low, high, excess_low


def _adjusted(pair: _Pair, rng: np.random.Generator, observed: Array) -> Array:
    """Returns the probability that the largest loss, in units of its spread, is by chance as large as each one."""
    swaps = rng.integers(0, 2, (_RESAMPLES, pair.blocks)).astype(np.float64)
    swaps[0] = 0  # as it is
    chunks = np.split(swaps, _RESAMPLES // _CHUNK)
    losses = np.nan_to_num(np.concatenate([pair.swapped(chunk) for chunk in chunks]))
    spread = losses.std(axis=0)
    tested = np.array([key.kind not in _UNTESTED for key in pair.keys]) & (spread > 1e-9)
    largest = np.full(len(losses), -np.inf)
    if tested.any():
        largest = (losses[:, tested] / spread[tested]).max(axis=1)
    own = np.where(tested, np.nan_to_num(observed) / np.where(tested, spread, 1.0), -np.inf)
    return np.asarray((largest[:, None] >= own[None] - 1e-9).mean(axis=0))


def _quantiles(values: Array, levels: list[float]) -> npt.NDArray[np.float64]:
    """Returns quantiles over resamples; of a share that a resample lacks, over the others."""
    if np.isfinite(values).all():
        return np.asarray(np.quantile(values, levels, axis=0))
    columns = [column[np.isfinite(column)] for column in values.T]
    nowhere = np.full(len(levels), np.nan)
    return np.stack([np.quantile(column, levels) if len(column) else nowhere for column in columns], axis=1)


class _Pair:
    """Two networks' counts, which can be resampled and swapped; neighbors of a block are added up."""

    def __init__(self, parent: Counts, child: Counts, block: int) -> None:
        starts = np.arange(0, len(parent.hits), block)
        self._plain = parent.keys
        self._present = (parent.totals + child.totals > 0).sum(axis=0)
        self._sums = [
            [np.add.reduceat(table, starts, axis=0) for table in (counts.hits, counts.totals)]
            for counts in (parent, child)
        ]
        self._bins: list[Array] | None = None
        if parent.reliability is not None and child.reliability is not None:
            flat = [counts.reliability.reshape(len(counts.hits), -1) for counts in (parent, child)]  # type: ignore[union-attr]
            self._bins = [np.add.reduceat(table, starts, axis=0) for table in flat]
        self.blocks = len(starts)

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """The shares, those that are made of others last."""
        return (*self._plain, MIOU, *([CALIBRATION] if self._bins is not None else []))

    def frames_with(self, place: int) -> int:
        """Returns in how many frames a share occurs."""
        made_of_others = place >= len(self._plain)
        return int(self._present[self._plain.index(Key("pixels")) if made_of_others else place])

    def losses(self, weights: Array) -> Array:
        """Returns losses in points, resamples x shares, with so many copies of each block."""
        before, after = self.values(weights)
        return 100 * (before - after)

    def values(self, weights: Array) -> tuple[Array, Array]:
        """Returns the shares of both networks, 0..1."""
        first, second = (self._mixed(weights, np.zeros_like(weights), k) for k in (0, 1))
        return first, second

    def swapped(self, swaps: Array) -> Array:
        """Returns losses with the networks exchanged in those blocks where there is a 1."""
        first, second = (self._mixed(1 - swaps, swaps, k) for k in (0, 1))
        return 100 * (first - second)

    def _mixed(self, own: Array, other: Array, k: int) -> Array:
        """Returns the shares of a network that has so many copies of its blocks, and so many of the other's."""
        hits, totals = (own @ self._sums[k][part] + other @ self._sums[1 - k][part] for part in (0, 1))
        bins = None if self._bins is None else own @ self._bins[k] + other @ self._bins[1 - k]
        return self._shares(hits, totals, bins)

    def _shares(self, hits: Array, totals: Array, bins: Array | None) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = hits / totals
        classes = shares[:, [place for place, key in enumerate(self._plain) if key.kind == "class"]]
        known = np.isfinite(classes)
        miou = np.where(known, classes, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        columns = [shares, miou[:, None]]
        if bins is not None:
            count, confidence, right = bins.reshape(len(bins), 3, -1).transpose(1, 0, 2)
            error = np.abs(right - confidence).sum(axis=1) / np.maximum(count.sum(axis=1), 1)
            columns.append(1 - error[:, None])
        return np.concatenate(columns, axis=1)
