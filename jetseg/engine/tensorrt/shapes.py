"""Shapes that an engine's input may have, where the network leaves them open."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.errors import ConfigError
from jetseg.input_spec import InputSpec
from jetseg.onnx.signature import input_shape, size_axes


@dataclass(frozen=True)
class ShapeRange:
    """What an input may be.

    Attributes:
        name: The input.
        least: Smallest shape.
        best: Shape that the engine is tuned for.
        most: Largest shape.
    """

    name: str
    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


def open_axes(spec: InputSpec, options: TensorRTOptions) -> frozenset[int]:
    """Returns the axes of the input that shall take several sizes.

    >>> sorted(open_axes(InputSpec(height=4, width=6), TensorRTOptions(max_batch=2, largest="8x6")))
    [0, 2, 3]
    """
    axes = {0} if options.max_batch > 1 else set()
    return frozenset(axes | set(size_axes(spec) if options.smallest or options.largest else ()))


def shape_range(model: onnx.ModelProto, spec: InputSpec, options: TensorRTOptions) -> ShapeRange | None:
    """Returns the shapes to build for; None where there is only one. The engine is tuned for the manifest's size.

    Args:
        model: The network, open where `open_axes` says so.
        spec: What the manifest says about its input.
        options: What was asked for.

    Raises:
        ConfigError: The network is fixed where several sizes were asked for, or these do not contain the manifest's.
    """
    if not options.dynamic:
        return None
    inputs = [value for value in model.graph.input if value.name == spec.name or len(model.graph.input) == 1]
    if not inputs:
        raise ConfigError("Several inputs, and the manifest names none.", "Give `input.name` in the manifest.")
    fixed = [
        axis for axis in open_axes(spec, options) if inputs[0].type.tensor_type.shape.dim[axis].HasField("dim_value")
    ]
    if fixed:
        raise ConfigError(
            f"The network's input {inputs[0].name} has fixed sizes on the axes {sorted(fixed)}, so its engine takes "
            "only these.",
            "Export it with these axes open, or leave out max_batch, smallest and largest.",
        )
    best = (options.max_batch, *input_shape(spec)[1:])
    least = _with_size(spec, (1, *best[1:]), options.smallest)
    most = _with_size(spec, best, options.largest)
    if not all(small <= middle <= large for small, middle, large in zip(least, best, most, strict=True)):
        raise ConfigError(
            f"Shapes from {list(least)} to {list(most)} do not contain the manifest's, {list(best)}.",
            "Give smallest and largest as HEIGHTxWIDTH around it.",
        )
    return ShapeRange(inputs[0].name, least, best, most)


def _with_size(spec: InputSpec, shape: tuple[int, ...], size: tuple[int, int] | None) -> tuple[int, ...]:
    sizes = dict(zip(size_axes(spec), size, strict=True)) if size else {}
    return tuple(sizes.get(axis, length) for axis, length in enumerate(shape))
