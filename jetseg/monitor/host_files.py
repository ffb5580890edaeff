"""What Linux's /sys tells about heat, power and clocks, as on a Jetson.

Temperatures are thermal zones; power is the board's INA3221 monitors, rail by rail; clocks are cpufreq and
devfreq. A device throttles when a cooling device that is no fan is at work, or when one of the counters of
over-current (Jetson) or thermal (x86) throttling rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TOTAL_RAILS = ("VDD_IN", "VIN_SYS_5V0", "VDD_TOTAL")
"""Rails that carry what all others carry together, by the names that NVIDIA's boards give them."""
_THROTTLE_COUNTERS = ("sys/class/hwmon/hwmon*/oc*_event_cnt", "sys/devices/system/cpu/cpu0/thermal_throttle/*_count")


@dataclass(frozen=True)
class HostFiles:
    """One reading; every part is empty where the system does not tell.

    Attributes:
        temperatures_c: By thermal zone.
        rails_w: Power by rail.
        clocks_mhz: Of "cpu" (the fastest core) and of each GPU.
        cooling: Names of cooling devices at work that slow something down.
        throttle_counts: By counter; they only rise.
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    rails_w: Mapping[str, float] = field(default_factory=dict)
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    cooling: tuple[str, ...] = ()
    throttle_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def power_w(self) -> float | None:
        """Power of the whole board: its total rail, or else the sum of all."""
        for rail in _TOTAL_RAILS:
            if rail in self.rails_w:
                return self.rails_w[rail]
        return sum(self.rails_w.values()) if self.rails_w else None


def read_host_files(root: Path = Path("/")) -> HostFiles:
    """Reads the present state; files that are absent or refuse to be read are left out.

    Args:
        root: Folder that stands for `/`.
    """
    return HostFiles(
        temperatures_c=_temperatures(root),
        rails_w=_rails(root),
        clocks_mhz=_clocks(root),
        cooling=_cooling(root),
        throttle_counts=_throttle_counts(root),
    )


def _temperatures(root: Path) -> dict[str, float]:
    found = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        millidegrees = _number(zone / "temp")
        # a zone that is off reads as far below zero, or gives no number
        if millidegrees is not None and millidegrees > -40_000:
            found[_text(zone / "type") or zone.name] = millidegrees / 1e3
    return found


def _rails(root: Path) -> dict[str, float]:
    rails = {}
    for monitor in sorted(root.glob("sys/class/hwmon/hwmon*")):
        for label in sorted(monitor.glob("in*_label")):
            channel = label.name[len("in") : -len("_label")]
            millivolts, milliamperes = (
                _number(monitor / f"in{channel}_input"),
                _number(monitor / f"curr{channel}_input"),
            )
            name = _text(label)
            if name and millivolts is not None and milliamperes is not None and name != "sum of shunt voltages":
                rails[name] = millivolts * milliamperes / 1e6
    return rails


def _clocks(root: Path) -> dict[str, float]:
    clocks = {}
    cores = [_number(policy / "scaling_cur_freq") for policy in root.glob("sys/devices/system/cpu/cpufreq/policy*")]
    if known := [core for core in cores if core is not None]:
        clocks["cpu"] = max(known) / 1e3
    for device in sorted(root.glob("sys/class/devfreq/*")):
        hertz = _number(device / "cur_freq")
        if hertz is not None and ("gpu" in device.name or "gpc" in device.name or device.name.endswith("gv11b")):
            clocks["gpu"] = max(clocks.get("gpu", 0.0), hertz / 1e6)
    return clocks


def _cooling(root: Path) -> tuple[str, ...]:
    at_work = []
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        name = _text(device / "type") or device.name
        if "fan" not in name.lower() and (_number(device / "cur_state") or 0) > 0:
            at_work.append(name)
    return tuple(at_work)


def _throttle_counts(root: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pattern in _THROTTLE_COUNTERS:
        for path in sorted(root.glob(pattern)):
            if (count := _number(path)) is not None:
                counts[path.name] = counts.get(path.name, 0) + int(count)
    return counts


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
