"""How images lie in a LiteRT file, with their channels last, and in the network that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.config import changed
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.onnx.signature import input_shape, size_axes
from jetseg.output_spec import OutputSpec

Values = npt.NDArray[Any]


def moves_input(spec: InputSpec) -> bool:
    """Tells whether a network takes images with the channels second."""
    return size_axes(spec) == (2, 3)


def moves_output(spec: OutputSpec) -> bool:
    """Tells whether a network gives images with the channels second, for an output."""
    return spec.layout == "nchw"


def output_names(manifest: Manifest, known: Sequence[str]) -> list[str]:
    """Returns the tensors that come out of a network, in the order of its manifest.

    Args:
        manifest: Of the network.
        known: The outputs of its graph; the first is that of a manifest that names none.
    """
    return [output.name or known[0] for output in manifest.outputs]


def file_shape(spec: InputSpec) -> tuple[int, ...]:
    """Returns the shape of the input of a network's LiteRT file, batch 1.

    >>> file_shape(InputSpec(height=2, width=4))
    (1, 2, 4, 3)
    """
    return input_shape(changed(spec, layout="nhwc"))


def channels_last(values: Values, manifest: Manifest) -> Values:
    """Returns a network's input as its LiteRT file takes it."""
    return np.ascontiguousarray(np.moveaxis(values, 1, -1)) if moves_input(manifest.input) else values


def as_network_gives(values: Values, spec: OutputSpec) -> Values:
    """Returns what a LiteRT file gives for an output as the network gives it, as a view."""
    return np.moveaxis(values, 3, 1) if moves_output(spec) and values.ndim == 4 else values
