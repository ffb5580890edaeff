"""Class maps and figures over ZeroMQ."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from time import perf_counter

import numpy as np

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.errors import ConfigError, import_optional
from jetseg.monitor.class_shares import class_shares

CLASS_MAP, STATISTICS = b"classmap", b"statistics"


class Publisher(Output):
    """Publishes every class map and its statistics on a PUB socket; an `Output`.

    Messages have parts: the topic "statistics" and a JSON object; or "classmap", the same object, and the
    ids (uint8, row by row). The object holds sequence, captured_at (Unix time), age_ms (when the class map
    was ready), height, width and class_shares. A subscriber that is too slow loses messages: one waits at
    most. Of a network of several tasks it holds `tasks`, their figures, and each further map is a message
    "map/TASK", with dtype ("<f4" for depth), height and width of it in the object.

    Args:
        address: To bind, as in "tcp://127.0.0.1:5556" or "ipc:///run/jetseg".
        classes: Class names.

    Raises:
        MissingDependencyError: pyzmq is not installed.
        ConfigError: The address cannot be bound.
    """

    form = "publish:ADDRESS"
    kind = "publisher"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a publisher that works in the background; see `jetseg.camera.contract.SinkKind`."""
        return in_background(Publisher(place, context.manifest.classes), context.events, live=context.live)

    def __init__(self, address: str, classes: Sequence[str]) -> None:
        zmq = import_optional("zmq", "pyzmq", "publish", "publishes over ZeroMQ")
        self._classes = tuple(classes)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, 2)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"{address} cannot be bound: {error}.", "Give an address as in tcp://127.0.0.1:5556."
            ) from error
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def write(self, result: FrameResult) -> None:
        """Publishes one class map."""
        ids = np.ascontiguousarray(result.class_map_hw_u8)
        height, width = ids.shape
        details = {
            "sequence": result.frame.sequence,
            "captured_at": time.time() - (perf_counter() - result.frame.captured_at),
            "age_ms": (result.ready_at - result.frame.captured_at) * 1e3,
            "height": height,
            "width": width,
            "class_shares": class_shares(ids, self._classes),
        }
        if result.further:
            details["tasks"] = result.statistics.tasks
        header = json.dumps(details).encode()
        self._socket.send_multipart([STATISTICS, header])
        self._socket.send_multipart([CLASS_MAP, header, ids.data])
        for name, values in result.further.items():
            own = {"task": name, "dtype": values.dtype.str, "height": values.shape[0], "width": values.shape[1]}
            text = json.dumps({**details, **own}).encode()
            self._socket.send_multipart([f"map/{name}".encode(), text, np.ascontiguousarray(values).data])

    def reset(self) -> None:
        """Holds nothing that an error could spoil."""

    def close(self) -> None:
        """Frees the address."""
        self._socket.close()
        self._context.term()
