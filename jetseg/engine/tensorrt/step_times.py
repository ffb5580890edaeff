"""How long each layer of a plan takes, by TensorRT's profiler, and what the layer is, by its inspector."""

from __future__ import annotations

import json
import re
from math import prod
from types import ModuleType
from typing import Any

from jetseg.engine.backend import StepTime
from jetseg.latency.unit import Shape, Unit

_KINDS = {
    "Convolution": "Conv",
    "Deconvolution": "ConvTranspose",
    "MatrixMultiply": "MatMul",
    "Concatenation": "Concat",
    "SoftMax": "Softmax",
    "Reduce": "ReduceMean",
    "Shuffle": "Transpose",
    "Quantize": "QuantizeLinear",
    "Dequantize": "DequantizeLinear",
    **dict.fromkeys(("PointWise", "PointWiseV2", "ElementWise", "Activation", "Scale", "Unary"), "Pointwise"),
}
"""ONNX's words for TensorRT's; where it has others, as for what its own compiler fused, they stay."""
_POOLS = {"MAX": "MaxPool", "AVERAGE": "AveragePool"}


def make_stopwatch(trt: ModuleType) -> Any:  # noqa: ANN401 - TensorRT's
    """Returns a profiler that keeps the fastest run of each layer, in milliseconds, as `fastest`."""

    class Stopwatch(trt.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.fastest: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.fastest[layer_name] = min(ms, self.fastest.get(layer_name, ms))

    return Stopwatch()


def read_steps(information: str, fastest: dict[str, float]) -> list[StepTime]:
    """Joins an inspector's report of a plan with the times of its layers.

    Args:
        information: Detailed report in JSON; layers of which it gives the names only have no unit.
        fastest: Milliseconds by the layer's name.

    Returns:
        Each layer, by the name of its first output, which is that of a tensor of the network where TensorRT kept it.
    """
    described = {layer["Name"]: layer for layer in json.loads(information)["Layers"] if isinstance(layer, dict)}
    found = []
    for name, ms in fastest.items():
        layer = described.get(name, {})
        unit = _unit(layer)
        made = next((output.get("Name") for output in layer.get("Outputs", [])), None)
        operator, written = (unit.operator, unit.written) if unit else (name, 0)
        found.append(StepTime(made, operator, ms, written, unit, covers=True))
    return found


def _unit(layer: dict[str, Any]) -> Unit | None:
    """Returns what a layer is; None if it tells no shapes, or moves nothing."""
    inputs, outputs = (_shapes(layer.get(side, [])) for side in ("Inputs", "Outputs"))
    if not inputs or not outputs:
        return None
    kind = str(layer.get("ParameterType") or layer.get("LayerType", "unknown"))
    operator = _POOLS.get(str(layer.get("PoolingType")), _KINDS.get(kind, re.sub(r"\W", "_", kind)))
    kernel, groups = tuple(map(int, layer.get("Kernel", layer.get("WindowSize", ())))), int(layer.get("Groups", 1))
    weights: Shape = kernel
    if operator in ("Conv", "ConvTranspose") and kernel:
        outer, inner = outputs[0][1], inputs[0][1] // groups
        weights = (outer, inner, *kernel) if operator == "Conv" else (inputs[0][1], outer // groups, *kernel)
    activation = str(layer.get("Activation", "NONE"))
    fused = ["Add"] if "Conv" in operator and len(inputs) > 1 else []
    return Unit(
        operator=operator,
        dtype="tensor",
        inputs=inputs,
        output=outputs[0],
        weights=weights,
        stride=tuple(map(int, layer.get("Stride", ()))),
        dilation=tuple(map(int, layer.get("Dilation", ()))),
        groups=groups,
        fused=(*fused, *([activation.capitalize()] if activation != "NONE" else [])),
    )


def _shapes(tensors: list[dict[str, Any]]) -> tuple[Shape, ...]:
    shapes = (tuple(map(int, tensor.get("Dimensions", ()))) for tensor in tensors)
    return tuple(shape for shape in shapes if shape and prod(shape) > 0)
