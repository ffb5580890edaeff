"""Names for the cameras of one run, and where the outputs of each of them go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jetseg.camera.config import RunConfig
from jetseg.errors import ConfigError

MARK = "{camera}"
"""Stands in the place of an output for the name of the camera."""
_NAMED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_-]{0,31})=(?P<source>.+)")
_PORT = re.compile(r"(?P<before>.*:)(?P<port>\d+)")
_LAST_PORT = 65535


def named_sources(sources: Sequence[str]) -> dict[str, str]:
    """Reads NAME=SOURCE, or SOURCE alone, which is called after its place in the list.

    Raises:
        ConfigError: Two have one name.

    >>> named_sources(["front=rtsp://10.0.0.7/a", "2"])
    {'front': 'rtsp://10.0.0.7/a', 'camera2': '2'}
    """
    named: dict[str, str] = {}
    for number, source in enumerate(sources, 1):
        found = None if Path(source).exists() else _NAMED.fullmatch(source)
        name = found["name"] if found else f"camera{number}"
        if name in named:
            raise ConfigError(f"Two sources are called {name}.", "Give each a name of its own, as in front=0.")
        named[name] = found["source"] if found else source
    return named


def settings_of(config: RunConfig, name: str, number: int) -> RunConfig:
    """Returns the settings of one camera of several: each output goes to a place of its own.

    Where a place holds {camera}, the name stands there. Else folders, topics and files get it at their end, and ports
    are counted on from the first camera's. Dashboard and metrics belong to all cameras together, and are left out.

    Args:
        config: Of the run.
        name: Of the camera.
        number: Its place in the list, from 0.

    Raises:
        ConfigError: An output cannot be divided.

    >>> config = settings_of(RunConfig(record=Path("drives"), ring="maps", ros2="/seg?domain=7"), "front", 0)
    >>> str(config.record), config.ring, config.ros2
    ('drives/front', 'maps-front', '/seg/front?domain=7')
    """
    if config.show:
        raise ConfigError("A window shows one camera.", "Use `dashboard`, which shows all of them.")
    changed: dict[str, Any] = {"metrics": None, "dashboard": None}
    for field in ("record", "record_mcap", "collect", "class_maps", "log"):
        changed[field] = _folder(getattr(config, field), name)
    if config.output is not None:
        changed["output"] = _folder(config.output, name, beside=True)
    if config.ring is not None:
        changed["ring"] = _text(config.ring, name, f"{config.ring}-{name}")
    if config.ros2 is not None:
        topic, question, options = config.ros2.partition("?")
        changed["ros2"] = _text(config.ros2, name, f"{topic.rstrip('/')}/{name}{question}{options}")
    if config.publish is not None:
        changed["publish"] = _text(config.publish, name, _next_address(config.publish, name, number))
    for field in ("foxglove", "rtsp"):
        if (port := getattr(config, field)) is not None:
            changed[field] = _next_port(port, number)
    if config.gstreamer is not None:
        changed["gstreamer"] = sink_of(config.gstreamer, name)
    return config.model_copy(update=changed)


def sink_of(spec: str, name: str) -> str:
    """Returns NAME:PLACE of a sink for one camera of several.

    Raises:
        ConfigError: Its place does not say where the name belongs.
    """
    if MARK not in spec:
        raise ConfigError(
            f"{spec} would be one output for several cameras.", f"Write {MARK} into its place for the camera's name."
        )
    return spec.replace(MARK, name)


def _folder(path: Path | None, name: str, *, beside: bool = False) -> Path | None:
    if path is None or MARK in str(path):
        return None if path is None else Path(str(path).replace(MARK, name))
    if beside or (path.suffix and not path.is_dir()):
        return path.with_name(f"{path.stem}-{name}{path.suffix}")
    return path / name


def _text(text: str, name: str, else_: str) -> str:
    return text.replace(MARK, name) if MARK in text else else_


def _next_address(address: str, name: str, number: int) -> str:
    found = _PORT.fullmatch(address)
    return f"{found['before']}{_next_port(int(found['port']), number)}" if found else f"{address}-{name}"


def _next_port(port: int, number: int) -> int:
    if port and port + number > _LAST_PORT:
        raise ConfigError(f"There is no port {port + number}.", "Begin with a lower one.")
    return port + number if port else 0
