"""A dataset of colored stripes with exact labels."""

import numpy as np

from jetseg.data.contract import Sample
from jetseg.errors import DataError


class Stripes:
    """stripes:N: N frames in each of train, val and test; an instance is one split."""

    form = "stripes:N"
    classes = ("dark", "light")
    palette = ((0, 0, 0), (255, 255, 255))
    ignore_index = 255

    @classmethod
    def open_split(cls, spec, place, split):
        """Opens train, val or test."""
        if split not in ("train", "val", "test"):
            raise DataError(f"{spec} has no split {split!r}; there are: train, val, test.")
        return cls(spec, split, int(place or 8))

    def __init__(self, spec, split, count):
        self.spec, self.split, self._count = spec, split, count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        if not 0 <= index < self._count:
            raise IndexError(index)
        label = np.zeros((32, 48), np.uint8)
        label[:, (8 * index) % 48 : (8 * index) % 48 + 16] = 1
        image = np.repeat((label * 180 + 40)[..., None], 3, axis=2)
        return Sample(f"{self.split}{index}", image, label)
