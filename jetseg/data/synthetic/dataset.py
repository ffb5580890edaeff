"""The synthetic dataset as a spec names it."""

from __future__ import annotations

from jetseg.data.synthetic.roads import SyntheticSplit
from jetseg.errors import ConfigError


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
        if ":" in spec and not (place.isascii() and place.isdigit() and int(place)):
            raise ConfigError(
                f"In the spec {spec!r}, {place!r} is not a number of frames.", "Write it as synthetic:200."
            )
        return SyntheticSplit(spec, split, int(place) if place else None)
