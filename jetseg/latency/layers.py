"""Which operator of a table a single layer is: the bridge from pruning, which knows layers, to tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from jetseg.latency.unit import Unit
from jetseg.onnx.layer_shape import LayerShape


class LayerUnits:
    """Describes layers as a backend fuses them, by the convolutions that a table holds.

    Args:
        units: Operators of the table; of each sort of layer, the most frequent is the example.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        found: dict[tuple[bool, bool], Counter[Unit]] = {}
        for unit in units:
            if "Conv" in unit.operator and len(unit.weights) == 4:
                # what differs in size only is of one sort
                sort = Unit(
                    unit.operator, unit.dtype, (), (), fused=tuple(word for word in unit.fused if word != "Add")
                )
                found.setdefault(_sort(unit), Counter())[sort] += 1
        self._examples = {sort: counted.most_common(1)[0][0] for sort, counted in found.items()}

    def unit(self, shape: LayerShape) -> Unit:
        """Returns a layer as an operator of the table."""
        alone = Unit("ConvTranspose" if shape.transposed else "Conv", "float32", (), ())
        example = self._examples.get((shape.transposed, shape.depthwise), alone)
        outer, inner = shape.out_channels, shape.in_channels // shape.groups
        if shape.transposed:
            outer, inner = shape.in_channels, shape.out_channels // shape.groups
        return replace(
            example,
            inputs=((1, shape.in_channels, shape.height, shape.width),),
            output=(1, shape.out_channels, *shape.output_size),
            weights=(outer, inner, *shape.kernel),
            stride=shape.stride,
            dilation=shape.dilation,
            groups=shape.groups,
        )


def _sort(unit: Unit) -> tuple[bool, bool]:
    """Tells whether a convolution is transposed, and whether it filters each channel alone."""
    return "ConvTranspose" in unit.operator, unit.groups > 1 and unit.weights[1] == 1
