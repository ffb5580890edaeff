"""Datasets: what they hold is in `contract`, how a spec is opened in `specs`."""

import jetseg.preprocess  # noqa: F401 - the one place that explains a missing OpenCV
from jetseg.data.contract import Sample, Split

__all__ = ["Sample", "Split"]
