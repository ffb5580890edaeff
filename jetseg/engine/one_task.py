"""A network of several tasks as if it had one of them only."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from jetseg.engine.engine import Engine
from jetseg.preprocess import NetworkInput


class OneTask:
    """The runner of one task of an open engine; see `jetseg.engine.backend.Runner`.

    Args:
        engine: The engine; it stays open.
        number: Of the output.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self.manifest = engine.manifest.tasks[number].changed(proof=None)
        self._engine, self._number = engine, number

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; returns the raw output of the task."""
        return self._engine.infer_all(network_input)[self._number]

    def close(self) -> None:
        """Leaves the engine to whoever opened it."""


def engine_of_task(engine: Engine, number: int) -> Engine:
    """Returns an engine that gives one output of another, and describes no other; its `network` is the file."""
    return Engine(OneTask(engine, number), engine.network)
