"""The client library of a ROS installation, whichever middleware it has."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from threading import Event, Thread
from time import perf_counter
from typing import Any

from jetseg.errors import DeviceError, import_optional
from jetseg.ros.bus import Delivery, Publisher, Received, Receiver
from jetseg.ros.message_types import COMPRESSED_IMAGE
from jetseg.ros.names import RosSettings

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 2.0


class RclpyBus:
    """A node of rclpy, which carries the bytes of messages; see `jetseg.ros.bus.Bus`.

    Raises:
        DeviceError: The node cannot be made.
        MissingDependencyError: rclpy is not installed, or its environment is not set up.
    """

    name = "rclpy"

    def __init__(self, settings: RosSettings) -> None:
        self._rclpy, self._qos = _library("rclpy"), _library("rclpy.qos")
        executors, signals = _library("rclpy.executors"), _library("rclpy.signals")
        self._context = self._rclpy.Context()
        domain = settings.domain_id()
        try:
            # signals are the business of the run
            quiet = signals.SignalHandlerOptions.NO
            self._rclpy.init(context=self._context, domain_id=domain, signal_handler_options=quiet)
            self._node = self._rclpy.create_node(
                settings.node, namespace=settings.namespace, context=self._context, enable_rosout=False
            )
        except Exception as error:  # of its own kinds, by version
            raise DeviceError(f"rclpy could not make a node: {error}.", "Check RMW_IMPLEMENTATION.") from error
        self._executor = executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ended = Event()
        self._thread = Thread(target=self._spin, name="jetseg-rclpy", daemon=True)
        self._thread.start()

    def publisher(self, topic: str, message_type: str, delivery: Delivery) -> Publisher:
        """Announces a topic; see `Bus`. One whose package the installation lacks is left out, and named."""
        kind = _class_of(message_type)
        if kind is None:
            package = message_type.partition("/")[0].replace("_", "-")
            _LOG.warning("%s is not published: install ros-...-%s for it.", topic, package)
            return _Nobody()
        return _RclpyPublisher(self._node.create_publisher(kind, topic, self._quality(delivery)))

    def subscribe(self, topic: str, message_types: Sequence[str], receiver: Receiver) -> None:
        """Listens to a topic; see `Bus`. Of several types it is the one that the topic's name tells."""
        compressed = topic.endswith("/compressed") and COMPRESSED_IMAGE in message_types
        message_type = COMPRESSED_IMAGE if compressed else message_types[0]
        kind = _class_of(message_type)
        if kind is None:
            raise DeviceError(f"This ROS installation has no {message_type}.", "Install its package.")

        def receive(content: bytes) -> None:
            receiver(Received(bytes(content), message_type, perf_counter()))

        self._node.create_subscription(kind, topic, receive, self._quality(Delivery()), raw=True)

    def topics(self) -> list[str]:
        """Returns the topics that somebody publishes; see `Bus`."""
        names = [name for name, _ in self._node.get_topic_names_and_types()]
        return sorted(name for name in names if self._node.count_publishers(name))

    def close(self) -> None:
        """Leaves the bus; may be called twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join(_CLOSE_SECONDS)
        self._executor.shutdown()
        self._node.destroy_node()
        self._rclpy.shutdown(context=self._context)

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=_POLL_SECONDS)

    def _quality(self, delivery: Delivery) -> Any:  # noqa: ANN401 - rclpy is optional
        qos = self._qos
        reliability, durability = qos.ReliabilityPolicy, qos.DurabilityPolicy
        return qos.QoSProfile(
            depth=delivery.depth,
            history=qos.HistoryPolicy.KEEP_LAST,
            reliability=reliability.RELIABLE if delivery.reliable else reliability.BEST_EFFORT,
            durability=durability.TRANSIENT_LOCAL if delivery.latched else durability.VOLATILE,
        )


class _RclpyPublisher:
    """Sends the messages of one topic."""

    def __init__(self, publisher: Any) -> None:  # noqa: ANN401
        self._publisher = publisher

    def send(self, content: bytes) -> None:
        self._publisher.publish(content)

    def is_wanted(self) -> bool:
        return bool(self._publisher.get_subscription_count())


class _Nobody:
    """Stands for a topic that cannot be published."""

    def send(self, content: bytes) -> None:
        del content

    def is_wanted(self) -> bool:
        return False


def _library(module: str) -> Any:  # noqa: ANN401 - rclpy is optional
    return import_optional(module, "rclpy", "ros2", "reaches ROS 2 as a node of its own")


def _class_of(message_type: str) -> Any | None:  # noqa: ANN401
    """Returns the installation's own class of a message; None if it has none."""
    package, _, name = message_type.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None
