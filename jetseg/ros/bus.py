"""What carries messages of ROS 2: Zenoh, DDS, or the ROS installation's own client library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from jetseg.ros.names import RosSettings, Transport

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """What a publisher promises; see the quality of service of ROS 2.

    Attributes:
        reliable: Messages are sent again until they arrive.
        latched: Whoever subscribes later gets the last one, too ("transient local").
        depth: Messages that are kept.
    """

    reliable: bool = False
    latched: bool = False
    depth: int = 1


@dataclass(frozen=True)
class Received:
    """One message as it came.

    Attributes:
        content: CDR, in bytes of its own.
        message_type: As in "sensor_msgs/msg/Image"; whatever the sender says, which may be no such type.
        arrived_at: `perf_counter` seconds.
    """

    content: bytes
    message_type: str
    arrived_at: float


Receiver = Callable[[Received], None]
"""Gets each message, in a thread of the bus; it is quick and does not raise."""


class Publisher(Protocol):
    """Sends messages of one topic, from one thread."""

    def send(self, content: bytes) -> None:
        """Sends a message, as CDR; never waits for a subscriber longer than a moment."""
        ...

    def is_wanted(self) -> bool:
        """Tells whether somebody subscribes, or the bus cannot say."""
        ...


class Bus(Protocol):
    """One node on a bus."""

    name: str
    """Of the transport, for people."""

    def publisher(self, topic: str, message_type: str, delivery: Delivery) -> Publisher:
        """Announces a topic; whoever looks at the graph of ROS 2 sees it."""
        ...

    def subscribe(self, topic: str, message_types: Sequence[str], receiver: Receiver) -> None:
        """Listens to a topic, whichever of the types it has: best effort, the last message."""
        ...

    def topics(self) -> list[str]:
        """Returns the topics that somebody publishes, as far as the bus tells."""
        ...

    def close(self) -> None:
        """Leaves the bus."""
        ...


def open_bus(settings: RosSettings) -> Bus:
    """Joins a bus as a node.

    Raises:
        ConfigError: Settings are wrong.
        DeviceError: The bus cannot be reached.
        MissingDependencyError: Its library is not installed.
    """
    transport = settings.transport or _usual(settings)
    _LOG.info("ROS 2 is reached by %s, domain %d.", transport, settings.domain_id())
    if transport == "rclpy":
        from jetseg.ros.rclpy_bus import RclpyBus

        return RclpyBus(settings)
    if transport == "dds":
        from jetseg.ros.dds_bus import DdsBus

        return DdsBus(settings)
    from jetseg.ros.zenoh_bus import ZenohBus

    return ZenohBus(settings)


def _usual(settings: RosSettings) -> Transport:
    if find_spec("rclpy") is not None:
        return "rclpy"
    return settings.middleware() or ("dds" if find_spec("cyclonedds") is not None else "zenoh")
