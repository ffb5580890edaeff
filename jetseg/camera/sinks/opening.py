"""Opens the sink that a user names: NAME:PLACE of a registered kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from jetseg.address import SourceAddress
from jetseg.camera.config import OutputConfig
from jetseg.camera.contract import Sink, SinkContext, SinkKind
from jetseg.errors import ConfigError
from jetseg.registry import SINKS


@contextmanager
def open_sink(spec: str, context: SinkContext, **options: Any) -> Iterator[Sink]:  # noqa: ANN401
    """Opens a sink by its name and place, as in "video:drive.mp4" or "window".

    Args:
        spec: NAME:PLACE; the names are those of `jetseg.registry.SINKS`.
        context: What the sink may want to know.
        options: Further arguments of that kind's own `open`.

    Raises:
        ConfigError: There is no sink of that name, or its place is missing.
        JetsegError: It cannot be opened.
    """
    name, _, place = spec.partition(":")
    if name not in SINKS:
        forms = ", ".join(SINKS.get(known).form for known in SINKS.names())
        raise ConfigError(f"{name!r} is not a sink.", f"Known forms: {forms}.")
    kind: SinkKind = SINKS.get(name)
    if ":" in kind.form and not place:
        raise ConfigError(f"The sink {spec} lacks its place.", f"Write it as {kind.form}.")
    # the place of another package's may be an address with a password, which jetseg's own have none
    hiding = nullcontext() if name in SINKS.own else SourceAddress(spec).concealing()
    with ExitStack() as stack:
        with hiding, SINKS.calling(name):
            sink = stack.enter_context(kind.open(place, context, **options))
        yield sink


def sinks_of(config: OutputConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the sinks that have settings of their own, with those."""
    limits = {"segment_seconds": config.segment_seconds, "limit_gb": config.record_gb}
    if config.record is not None:
        yield f"segments:{config.record}", limits
    if config.record_mcap is not None:
        yield f"mcap:{config.record_mcap}", {**limits, "lossless": not config.mcap_jpeg}
    named = {
        "class_map_files": config.class_maps,
        "ring": config.ring,
        "publish": config.publish,
        "ros2": config.ros2,
        "mqtt": config.mqtt,
        "foxglove": None if config.foxglove is None else f"{config.dashboard_host}:{config.foxglove}",
        "rtsp": None if config.rtsp is None else f"{config.dashboard_host}:{config.rtsp}",
        "gstreamer": config.gstreamer,
        "video": config.output,
    }
    for name, place in named.items():
        if place is not None:
            yield f"{name}:{place}", {}
    if config.show:
        yield "window", {}
