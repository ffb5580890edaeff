"""Reports in which precision the layers of a finished plan run."""

from __future__ import annotations

import json
import re
from collections import Counter
from types import ModuleType
from typing import Any

from jetseg.engine.tensorrt.log import make_log

_PRECISIONS = (("int8", r"int8"), ("fp16", r"fp16|half"), ("fp32", r"fp32|float"))


def layer_precisions(trt: ModuleType, plan: bytes) -> dict[str, int]:
    """Counts the layers of a plan by the precision that they read; empty if the plan does not tell.

    Args:
        trt: TensorRT.
        plan: A plan with detailed layer information.
    """
    log = make_log(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return {}
    inspector = engine.create_engine_inspector()
    return count_precisions(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def count_precisions(information: str) -> dict[str, int]:
    """Counts the layers in an inspector's report.

    >>> count_precisions('{"Layers": [{"Name": "conv", "Inputs": [{"Format/Datatype": "Row major Int8 format"}]}]}')
    {'int8': 1}
    """
    try:
        layers = json.loads(information).get("Layers", [])
    except (json.JSONDecodeError, AttributeError):
        return {}
    return dict(Counter(_precision(layer) for layer in layers))


def _precision(layer: Any) -> str:  # noqa: ANN401 - whatever the report holds
    """Returns what a layer reads: its narrowest input."""
    ports = layer.get("Inputs") or [] if isinstance(layer, dict) else []
    formats = " ".join(str(port.get("Format/Datatype", "")) for port in ports if isinstance(port, dict))
    for name, pattern in _PRECISIONS:
        if re.search(pattern, formats, re.IGNORECASE):
            return name
    return "other"
