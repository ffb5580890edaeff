"""How images lie in a LiteRT file, with their channels last, and in the network that it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.config import changed
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.onnx.signature import input_shape, size_axes

Values = npt.NDArray[Any]


def moved_ends(manifest: Manifest) -> dict[str, bool]:
    """Tells at which ends, "input" and "output", a network has images with the channels second."""
    return {"input": size_axes(manifest.input) == (2, 3), "output": manifest.output.layout == "nchw"}


def file_shape(spec: InputSpec) -> tuple[int, ...]:
    """Returns the shape of the input of a network's LiteRT file, batch 1.

    >>> file_shape(InputSpec(height=2, width=4))
    (1, 2, 4, 3)
    """
    return input_shape(changed(spec, layout="nhwc"))


def channels_last(values: Values, manifest: Manifest) -> Values:
    """Returns a network's input as its LiteRT file takes it."""
    return np.ascontiguousarray(np.moveaxis(values, 1, -1)) if moved_ends(manifest)["input"] else values


def as_network_gives(values: Values, manifest: Manifest) -> Values:
    """Returns what a LiteRT file gives as the network gives it, as a view."""
    return np.moveaxis(values, 3, 1) if moved_ends(manifest)["output"] and values.ndim == 4 else values
