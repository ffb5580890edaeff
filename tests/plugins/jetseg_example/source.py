"""A source of frames: stripes that wander."""

import time

from jetseg.camera.contract import Source, SourceFrame

from .dataset import Stripes


class StripesCamera(Source):
    """stripes-camera:N: N frames."""

    form = "stripes-camera:N"

    @staticmethod
    def open(place, context):
        """Opens it; nothing else matters."""
        del context
        return StripesCamera(int(place))

    def __init__(self, count):
        self.name, self._left = f"stripes-camera:{count}", iter(range(count))
        self._split = Stripes("stripes", "test", count)

    def read(self):
        """Returns the next frame."""
        index = next(self._left, None)
        if index is None:
            return None
        sample = self._split[index]
        return SourceFrame(index, sample.name, time.perf_counter(), sample.image_hwc_u8)
