"""Names of topics and nodes, and the settings of a connection to ROS 2, as a user writes them in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qsl

from pydantic import Field

from jetseg.config import Settings, validate_config
from jetseg.errors import ConfigError

Transport = Literal["zenoh", "dds", "rclpy"]
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*")
_NAMESPACE = re.compile(r"/|(?:/[A-Za-z_][A-Za-z0-9_]*)+")
_LONGEST_NAME = 247
"""RMW_TOPIC_MAX_NAME_LENGTH of rmw/validate_full_topic_name.h."""
_NODE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MIDDLEWARE: Mapping[str, Transport] = {
    "rmw_zenoh_cpp": "zenoh",
    "rmw_cyclonedds_cpp": "dds",
    "rmw_fastrtps_cpp": "dds",
    "rmw_fastrtps_dynamic_cpp": "dds",
}


class RosSettings(Settings):
    """How ROS 2 is reached."""

    transport: Transport | None = Field(
        None,
        description="zenoh, dds or rclpy; by default rclpy where it is installed, else what RMW_IMPLEMENTATION names, "
        "else dds where it is installed, else zenoh.",
    )
    domain: int | None = Field(None, ge=0, le=232, description="Domain id; by default that of ROS_DOMAIN_ID, else 0.")
    router: str = Field(
        "tcp/localhost:7447", pattern=r"^(tcp|udp|tls|quic|ws|unixsock-stream)/\S+$", description="Router of Zenoh."
    )
    distro: str | None = Field(
        None, pattern="^[a-z]+$", description="Release of ROS 2; by default that of ROS_DISTRO, else jazzy."
    )
    namespace: str = Field("/", description="Namespace of the node, before names without a leading slash.")
    node: str = Field("jetseg", description="Name of the node.")
    remap: str = Field("", description="Other names, as in image:=/front/image,labels:=/front/labels.")
    reliable: bool = Field(False, description="Class maps and overlays are sent again until they arrive.")
    frame_id: str = Field("camera", description="Coordinate frame of pictures that did not come from ROS 2.")
    sim_time: bool = Field(False, description="Time is what /clock says.")

    def domain_id(self) -> int:
        """Returns the domain.

        Raises:
            ConfigError: ROS_DOMAIN_ID is not a number of a domain.
        """
        if self.domain is not None:
            return self.domain
        text = os.environ.get("ROS_DOMAIN_ID") or "0"
        if not text.isdecimal() or int(text) > 232:
            raise ConfigError(f"ROS_DOMAIN_ID is {text!r}.", "Set it to a number from 0 to 232.")
        return int(text)

    def middleware(self) -> Transport | None:
        """Returns what RMW_IMPLEMENTATION names; None if it is not set."""
        return _MIDDLEWARE.get(os.environ.get("RMW_IMPLEMENTATION", ""))

    def release(self) -> str:
        """Returns the release of ROS 2."""
        return self.distro or os.environ.get("ROS_DISTRO") or "jazzy"

    def resolve(self, name: str) -> str:
        """Returns the whole name of a topic, after remapping and with the namespace.

        Raises:
            ConfigError: It is no name of ROS 2.

        >>> RosSettings(namespace="/front", remap="image:=/cam/image").resolve("image")
        '/cam/image'
        >>> RosSettings(namespace="/front").resolve("segmentation")
        '/front/segmentation'
        """
        _check(_NAMESPACE, self.namespace, "namespace", "/front")
        _check(_NODE, self.node, "name of a node", "jetseg")
        other = {self._absolute(old): new for old, new in self._remapped().items()}
        return self._absolute(other.get(self._absolute(name), name))

    def _absolute(self, name: str) -> str:
        _check(_TOPIC, name, "topic", "/camera/image_raw")
        return check_topic(name if name.startswith("/") else f"{self.namespace.rstrip('/')}/{name}")

    def _remapped(self) -> dict[str, str]:
        pairs = [entry.partition(":=") for entry in self.remap.split(",") if entry]
        if not all(old and new for old, _, new in pairs):
            raise ConfigError(f"{self.remap!r} is no remapping.", "Write it as image:=/front/image.")
        return {old: new for old, _, new in pairs}


def parse_place(place: str, form: str) -> tuple[str, RosSettings]:
    """Reads `TOPIC` or `TOPIC?domain=7&transport=zenoh`.

    Args:
        place: What a user wrote.
        form: How it is written, for messages.

    Returns:
        The whole name of the topic, and the settings.

    Raises:
        ConfigError: It is written differently.

    >>> topic, settings = parse_place("/camera/image_raw?domain=7", "ros2:TOPIC")
    >>> topic, settings.domain
    ('/camera/image_raw', 7)
    """
    topic, _, options = place.partition("?")
    pairs = parse_qsl(options, keep_blank_values=True)
    if len(dict(pairs)) != len(pairs) or (options and not pairs):
        raise ConfigError(
            f"{options!r} are no settings, or some stand twice.", f"Write {form}?domain=7&transport=zenoh."
        )
    settings = validate_config(RosSettings, dict(pairs))
    return settings.resolve(topic), settings


def check_topic(name: str) -> str:
    """Returns the whole name of a topic if ROS 2 takes it.

    Raises:
        ConfigError: It is longer than rmw allows.
    """
    if len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"The topic {name[:40]}... has {len(name)} characters, and ROS 2 takes {_LONGEST_NAME}.",
            "Give a shorter name or namespace.",
        )
    return name


def _check(pattern: re.Pattern[str], name: str, kind: str, example: str) -> None:
    if not pattern.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no {kind} of ROS 2.", f"Write it as in {example}: letters, digits, underscores."
        )
