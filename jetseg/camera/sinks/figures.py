"""The figures of a run in few plain values, for those who show or judge it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jetseg.monitor.observer import Observation
from jetseg.ros.messages import Level

_SILENT_SECONDS = 2.0
_MOST_VALUES = 100


def flat_figures(observation: Observation) -> dict[str, float | int | str | bool]:
    """Returns rate, age, losses, temperature, and what the monitors say, each under one name with its unit."""
    summary, host = observation.summary, observation.host
    found: dict[str, Any] = {
        "frames_per_second": observation.frames_per_second,
        **{f"frame_age_ms.{name}": value for name, value in observation.frame_age_ms.items()},
        **{f"stage_ms.{name}": value for name, value in observation.stage_ms.items()},
        "frames": summary.frames,
        "dropped": summary.dropped,
        "corrupt": summary.corrupt,
        "deadline_misses": summary.deadline_misses,
        "miou": summary.miou,
        **({} if host is None else {"temperature_c": host.temperature_c, "power_w": host.power_w}),
        **dict(_leaves(observation.further, "")),
    }
    shown = {name: value for name, value in found.items() if value is not None}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in shown.items()}


def judge(observation: Observation) -> tuple[Level, str]:
    """Returns how a run is, and why, for diagnostics."""
    silent_s, drift = observation.since_last_frame_s, observation.further.get("drift") or {}
    if silent_s is None or silent_s > _SILENT_SECONDS:
        return "stale", "No frame comes."
    if drift.get("active"):
        return "warning", f"Drift: {', '.join(drift['active'])}."
    if observation.host is not None and observation.host.throttled:
        return "warning", f"The device slows itself down: {', '.join(observation.host.throttled)}."
    return "ok", "Frames are segmented."


def _leaves(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items())[:_MOST_VALUES]:
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{before}{name}", ", ".join(map(str, value[:_MOST_VALUES]))
        elif isinstance(value, str | int | float | bool):
            yield f"{before}{name}", value
