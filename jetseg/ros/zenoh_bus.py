"""Zenoh, as rmw_zenoh uses it: keys that name domain, topic, type and its hash; tokens that make the graph.

The rules are those of rmw_zenoh's docs/design.md: a message's key is `domain/topic/type/hash`, and 33 bytes beside it
hold its number, its time and the sender's id; a node, publisher or subscription shows itself by a liveliness token.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from jetseg.errors import ConfigError, DeviceError, import_optional
from jetseg.ros.bus import Delivery, Publisher, Received, Receiver
from jetseg.ros.message_types import MOST_MESSAGE_BYTES, dds_name, type_hash
from jetseg.ros.names import RosSettings

_NO_HASH = "TypeHashNotSupported"
"""What Humble, which knows no hashes, writes in their place."""
_CONFIG_FILE = "ZENOH_SESSION_CONFIG_URI"
_GRAPH_SECONDS = 0.5
"""For the tokens of others to arrive."""
_HEARTBEAT_SECONDS = 0.5


class ZenohBus:
    """A node on Zenoh; see `jetseg.ros.bus.Bus`.

    It reaches others through a router, as `ros2 run rmw_zenoh_cpp rmw_zenohd` starts one, and finds it again when it
    was away. ZENOH_SESSION_CONFIG_URI names a configuration of the user's own, as for rmw_zenoh.

    Raises:
        ConfigError: The configuration cannot be read.
        DeviceError: The session cannot be opened.
        MissingDependencyError: eclipse-zenoh is not installed.
    """

    name = "zenoh"

    def __init__(self, settings: RosSettings) -> None:
        self._zenoh = import_optional("zenoh", "eclipse-zenoh", "ros2", "reaches ROS 2 over Zenoh")
        self._settings = settings
        self._domain = settings.domain_id()
        self._has_hashes = settings.release() != "humble"
        self._entities = count()
        try:
            self._session = self._zenoh.open(self._configuration())
        except self._zenoh.ZError as error:
            raise DeviceError(f"Zenoh could not be opened: {error}.", "Check the router's address.") from error
        self._kept: list[Any] = []
        self._id = str(self._session.info.zid())
        self._announce(f"{self._next()}/NN/{self._node()}")

    def publisher(self, topic: str, message_type: str, delivery: Delivery) -> Publisher:
        """Announces a topic; see `Bus`."""
        key, zenoh = self._key(topic, message_type), self._zenoh
        options: dict[str, Any] = {
            "congestion_control": zenoh.CongestionControl.DROP,
            "reliability": zenoh.Reliability.RELIABLE if delivery.reliable else zenoh.Reliability.BEST_EFFORT,
        }
        if delivery.latched:
            extension = import_optional("zenoh.ext", "eclipse-zenoh", "ros2", "keeps the last message")
            missing = extension.MissDetectionConfig(heartbeat=_HEARTBEAT_SECONDS, sporadic_heartbeat=None)
            sender = extension.declare_advanced_publisher(
                self._session,
                key,
                cache=extension.CacheConfig(delivery.depth),
                publisher_detection=True,
                sample_miss_detection=missing,
                **options,
            )
        else:
            sender = self._session.declare_publisher(key, **options)
        token = self._announce_topic("MP", topic, message_type, _quality(delivery))
        self._kept.append(sender)
        return _ZenohPublisher(sender, hashlib.blake2b(token.encode(), digest_size=16).digest())

    def subscribe(self, topic: str, message_types: Sequence[str], receiver: Receiver) -> None:
        """Listens to a topic; see `Bus`. Releases of ROS 2 that write other hashes are heard as well."""

        def receive(sample: Any) -> None:  # noqa: ANN401 - Zenoh is optional
            arrived_at = perf_counter()
            size = len(sample.payload)
            content = sample.payload.to_bytes() if size <= MOST_MESSAGE_BYTES else b""
            receiver(Received(content, _ros_name(str(sample.key_expr)), arrived_at))

        self._kept.append(self._session.declare_subscriber(f"{self._domain}/{topic.strip('/')}/*/*", receive))
        for message_type in message_types:
            self._announce_topic("MS", topic, message_type, _quality(Delivery()))

    def topics(self) -> list[str]:
        """Returns the topics that somebody publishes; see `Bus`."""
        tokens: list[str] = []
        watch = self._session.liveliness().declare_subscriber(
            f"@ros2_lv/{self._domain}/**", lambda sample: tokens.append(str(sample.key_expr)), history=True
        )
        time.sleep(_GRAPH_SECONDS)
        watch.undeclare()
        parts = [token.split("/") for token in tokens]
        return sorted({part[9].replace("%", "/") for part in parts if len(part) > 9 and part[5] == "MP"})

    def close(self) -> None:
        """Leaves the bus; may be called twice."""
        if not self._session.is_closed():
            self._session.close()

    def _configuration(self) -> Any:  # noqa: ANN401
        given = os.environ.get(_CONFIG_FILE)
        try:
            if given:
                return self._zenoh.Config.from_file(Path(given.removeprefix("file://")))
            config = self._zenoh.Config()
            for key, value in _usual_configuration(self._settings.router).items():
                config.insert_json5(key, json.dumps(value))
        except self._zenoh.ZError as error:
            origin = f"{_CONFIG_FILE} ({given})" if given else f"The router {self._settings.router}"
            raise ConfigError(f"{origin} is wrong: {error}.", "Write it as in tcp/10.0.0.7:7447.") from error
        return config

    def _key(self, topic: str, message_type: str) -> str:
        return f"{self._domain}/{topic.strip('/')}/{dds_name(message_type)}/{self._hash(message_type)}"

    def _hash(self, message_type: str) -> str:
        return type_hash(message_type) if self._has_hashes else _NO_HASH

    def _node(self) -> str:
        namespace = self._settings.namespace.replace("/", "%") if self._settings.namespace != "/" else "%"
        return f"%/{namespace}/{self._settings.node}"

    def _announce_topic(self, kind: str, topic: str, message_type: str, quality: str) -> str:
        named = f"{topic.replace('/', '%')}/{dds_name(message_type)}/{self._hash(message_type)}/{quality}"
        return self._announce(f"{self._next()}/{kind}/{self._node()}/{named}")

    def _next(self) -> str:
        """Returns the numbers of the node, which is the only one here, and of its next part."""
        return f"0/{next(self._entities)}"

    def _announce(self, entity: str) -> str:
        token = f"@ros2_lv/{self._domain}/{self._id}/{entity}"
        self._kept.append(self._session.liveliness().declare_token(token))
        return token


class _ZenohPublisher:
    """Sends the messages of one topic."""

    def __init__(self, sender: Any, gid: bytes) -> None:  # noqa: ANN401
        self._sender = sender
        self._gid = gid
        self._number = 0

    def send(self, content: bytes) -> None:
        self._number += 1
        beside = struct.pack("<qqB", self._number, time.time_ns(), len(self._gid)) + self._gid
        self._sender.put(content, attachment=beside)

    def is_wanted(self) -> bool:
        # those that keep messages lack it, and give them to whoever comes later
        status = getattr(self._sender, "matching_status", None)
        return status is None or bool(status.matching)


def _usual_configuration(router: str) -> dict[str, Any]:
    """Returns what rmw_zenoh sets for a session: a peer that finds others through the router, on this machine only."""
    return {
        "mode": "peer",
        "connect/endpoints": [router],
        "connect/timeout_ms": -1,
        "connect/exit_on_failure": False,
        "connect/retry": {"period_init_ms": 250, "period_max_ms": 1000, "period_increase_factor": 2},
        "listen/endpoints": ["tcp/localhost:0"],
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": True,
        "timestamping/enabled": True,
        "transport/unicast/open_timeout": 10_000,
    }


def _quality(delivery: Delivery) -> str:
    """Writes a quality of service as rmw_zenoh does: numbers of its enumerations, empty where they are usual."""
    reliability = "" if delivery.reliable else "2"
    durability = "1" if delivery.latched else ""
    return f"{reliability}:{durability}:,{delivery.depth}:,:,:,,"


def _ros_name(key: str) -> str:
    """Returns the type that a key names, as in "sensor_msgs/msg/Image"; whatever stands there if it is none."""
    name = key.split("/")[-2]
    return name.replace("::msg::dds_::", "/msg/").removesuffix("_")
