"""The synthetic dataset as a spec names it."""

from __future__ import annotations

from jetseg.data.files import count_of
from jetseg.data.synthetic.roads import SyntheticSplit


class Synthetic:
    """Drawn road scenes with exact labels; see `jetseg.data.contract.DatasetKind`."""

    form = "synthetic or synthetic:N"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> SyntheticSplit:
        """Opens a split of N frames; without N, of 600 (train), 60 (val) or 120 (test).

        Raises:
            ConfigError: N is not a number of frames.
            DataError: There is no such split.
        """
        return SyntheticSplit(spec, split, count_of(spec, place, "frames"))
