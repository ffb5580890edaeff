"""A run's figures as flat names and numbers, whatever a `LoopSummary` may hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Value: TypeAlias = float | str


def flat_values(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Yields every number and word of a nested mapping with its path, joined by points.

    Truth values count as 0 and 1; a list of words is one value; what is absent or endless is left out.

    >>> list(flat_values({"drift": {"active": ["blur", "dark"], "blur": {"value": 1.5, "bound": None}}}))
    [('drift.active', 'blur, dark'), ('drift.blur.value', 1.5)]
    """
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat_values(value, path + ".")
        elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            yield path, ", ".join(value)
        elif isinstance(value, str):
            yield path, value
        elif isinstance(value, int | float) and math.isfinite(value):
            yield path, float(value)


def flat_numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields only the numbers of `flat_values`.

    >>> list(flat_numbers({"frames": 3, "stage_ms": {"infer": {"p50": 1.5}}, "name": "x", "miou": None}))
    [('frames', 3.0), ('stage_ms.infer.p50', 1.5)]
    """
    for path, value in flat_values(values):
        if isinstance(value, float):
            yield path, value


def json_ready(value: Any) -> Any:  # noqa: ANN401 - anything that json takes
    """Returns a nested value with floats rounded to six digits; those that JSON has no word for become None.

    >>> json_ready({"age_ms": 12.34567891, "rate": float("nan"), "shape": (1, 2)})
    {'age_ms': 12.345679, 'rate': None, 'shape': [1, 2]}
    """
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return value
