"""Datasets: what they hold is in `contract`, how a spec is opened in `dataset`."""

import jetseg.preprocess  # noqa: F401 - the one place that explains a missing OpenCV
