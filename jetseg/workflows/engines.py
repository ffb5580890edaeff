"""The engines of a run, whichever cameras it has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from jetseg.camera.config import RunConfig
from jetseg.camera.stopping import StopFlag
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError
from jetseg.kit.following import follow_release
from jetseg.kit.releases import is_release
from jetseg.kit.signature import key_in_force
from jetseg.kit.signed import open_driven
from jetseg.monitor.engine_speed import EngineSpeed, measure_engine_speed
from jetseg.monitor.events import EventLog
from jetseg.network import Network
from jetseg.workflows.drive import place_of
from jetseg.workflows.opening import enter_engine, manifest_for

_LOG = logging.getLogger(__name__)


class Engines:
    """The engines of a run, open until the stack is left.

    Args:
        stack: Closes them, but for one that was open already.
        engine: See `run_camera`, as for all others.
        ladder: Lighter ones.
        config: Of the run.
        manifest: For files without one.
        threads: Of a CPU backend.
        key: Public key.
        speed: Of the engine alone, where it is known.

    Attributes:
        first: The engine.
        lighter: The others of the ladder, with their places.
    """

    def __init__(
        self,
        stack: ExitStack,
        engine: Engine | Network | Path | str,
        ladder: Sequence[Network | Path | str],
        config: RunConfig,
        *,
        manifest: Path | str | None,
        threads: int | None,
        key: Path | str | None,
        speed: EngineSpeed | None,
    ) -> None:
        self._stack, self._manifest, self._public, self._threads = stack, manifest, key_in_force(key), threads
        self._lighter = _lighter_engines(engine, ladder, config)
        self._link = None if isinstance(engine, Engine | Network) or not is_release(Path(engine)) else Path(engine)
        self._release = None if self._link is None else self._link.resolve()
        self.first = self.enter(self._release or engine, threads)
        self._speeds: dict[Engine, EngineSpeed] = {} if speed is None else {self.first: speed}

    @cached_property
    def lighter(self) -> list[tuple[str, Engine]]:
        """Opens the lighter engines."""
        return [(place, self.enter(other, self._threads)) for place, other in self._lighter]

    def follow(self, events: EventLog, stop: StopFlag) -> None:
        """Ends the run when a link to a release leads to another."""
        if self._link is not None and self._release is not None:
            self._stack.enter_context(follow_release(self._link, self._release, events, stop))

    def enter(self, network: Engine | Network | Path | str, threads: int | None) -> Engine:
        """Opens an engine."""
        if not isinstance(network, Engine | Network):
            network = open_driven(network, manifest_for(network, self._manifest), self._public)
        return enter_engine(self._stack, network, threads=threads)

    def speed_of(self, stop: StopFlag, engine: Engine) -> EngineSpeed:
        """Times an engine alone, once."""
        if engine not in self._speeds:
            _LOG.info("Timing %s alone, for comparison ...", Path(place_of(engine)).name)
            self._speeds[engine] = measure_engine_speed(engine, stopped=lambda: stop.requested)
        return self._speeds[engine]


def _lighter_engines(
    engine: Engine | Network | Path | str, ladder: Sequence[Network | Path | str], config: RunConfig
) -> list[tuple[str, Network | Path | str]]:
    """Returns the engines of a ladder, with their places, after the first one: the engine, named there or not."""
    lighter = [(place_of(other), other) for other in ladder]
    if lighter and config.deadline_ms is None:
        raise ConfigError("A `ladder` was given without `deadline_ms`.", "Say how old a frame may be.")
    best = place_of(engine)
    if lighter and lighter[0][0] == best:
        del lighter[0]
    if best in dict(lighter):
        raise ConfigError(f"The `ladder` names {best} after another engine.", "Give the best engine first.")
    return lighter
