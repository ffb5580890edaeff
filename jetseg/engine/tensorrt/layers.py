"""Reports in which precision and on which device the layers of a finished plan run."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from jetseg.engine.tensorrt.log import make_log
from jetseg.engine.tensorrt.options import TensorRTOptions

_PRECISIONS = (
    ("int8", r"int8"),
    ("fp8", r"fp8|float8|e4m3"),
    ("bf16", r"bf16|bfloat"),
    ("fp16", r"fp16|half"),
    ("fp32", r"fp32|float"),
)
_REFORMAT = re.compile(r"reformat", re.IGNORECASE)
_DLA = re.compile(r"dla", re.IGNORECASE)


@dataclass(frozen=True)
class LayerReport:
    """What a plan consists of.

    Attributes:
        precisions: Layers by the precision that they read.
        devices: Layers by device, "GPU" or "DLA".
        hops: "format", layers that only change how values lie in memory; "device", changes between GPU and DLA.
    """

    precisions: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    hops: Mapping[str, int] = field(default_factory=dict)


def inspect_layers(trt: ModuleType, plan: bytes, options: TensorRTOptions) -> LayerReport:
    """Looks into a plan with detailed layer information; the report is empty if the plan does not tell.

    Args:
        trt: TensorRT.
        plan: The plan.
        options: What it was built with.
    """
    runtime = make_runtime(trt, make_log(trt), options)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return LayerReport()
    inspector = engine.create_engine_inspector()
    return count_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def make_runtime(trt: ModuleType, log: Any, options: TensorRTOptions) -> Any:  # noqa: ANN401 - TensorRT's
    """Makes a runtime that opens plans which were built with these settings."""
    runtime = trt.Runtime(log)
    if options.dla_core is not None:
        runtime.DLA_core = options.dla_core
    if options.version_compatible:  # such a plan brings code of its own; its hash was checked
        runtime.engine_host_code_allowed = True
    return runtime


def count_layers(information: str) -> LayerReport:
    """Counts the layers in an inspector's report.

    >>> count_layers('{"Layers": [{"Name": "conv", "Inputs": [{"Format/Datatype": "Row major Int8 format"}]}]}')
    LayerReport(precisions={'int8': 1}, devices={'GPU': 1}, hops={'format': 0, 'device': 0})
    """
    try:
        layers = json.loads(information).get("Layers", [])
    except (json.JSONDecodeError, AttributeError):
        return LayerReport()
    if not layers:
        return LayerReport()
    devices = [_device(layer) for layer in layers]
    hops = {"format": sum(bool(_REFORMAT.search(_kind(layer))) for layer in layers), "device": _changes(devices)}
    return LayerReport(dict(Counter(_precision(layer) for layer in layers)), dict(Counter(devices)), hops)


def _kind(layer: Any) -> str:  # noqa: ANN401 - whatever the report holds
    """Returns a layer's type and name; without details, a report gives names only."""
    return f"{layer.get('LayerType', '')} {layer.get('Name', '')}" if isinstance(layer, dict) else str(layer)


def _device(layer: Any) -> str:  # noqa: ANN401
    return "DLA" if isinstance(layer, dict) and _DLA.match(str(layer.get("LayerType", ""))) else "GPU"


def _changes(devices: Sequence[str]) -> int:
    return sum(devices[index] != devices[index - 1] for index in range(1, len(devices)))


def _precision(layer: Any) -> str:  # noqa: ANN401
    """Returns what a layer reads: its narrowest input."""
    inputs = layer.get("Inputs") or [] if isinstance(layer, dict) else []
    formats = " ".join(str(entry.get("Format/Datatype", "")) for entry in inputs if isinstance(entry, dict))
    for name, pattern in _PRECISIONS:
        if re.search(pattern, formats, re.IGNORECASE):
            return name
    return "other"
