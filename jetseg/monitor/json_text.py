"""Figures and events of a run as JSON, whatever they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: object) -> bytes:
    """Returns a nested value as one line of JSON, with floats rounded to six digits.

    >>> json_text({"age_ms": 12.34567891, "rate": float("nan"), "shape": (1, 2)})
    b'{"age_ms":12.345679,"rate":null,"shape":[1,2]}'
    """
    return json.dumps(_ready(value), allow_nan=False, default=str, separators=(",", ":")).encode()


def _ready(value: Any) -> Any:  # noqa: ANN401 - anything that json takes
    """Rounds floats; those that JSON has no word for become None."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_ready(item) for item in value]
    return value
