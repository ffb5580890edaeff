"""Figures and events of a run to an MQTT broker, as fleets collect them."""

from __future__ import annotations

import json
import re
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from jetseg.address import SourceAddress
from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Note, Output, in_background
from jetseg.camera.sinks.figures import flat_figures, judge
from jetseg.errors import ConfigError, import_optional
from jetseg.monitor.events import Event, EventLog
from jetseg.monitor.json_text import json_text
from jetseg.monitor.observer import Observation

_SCHEMES = {"mqtt": 1883, "mqtts": 8883}
_PREFIX = re.compile(r"[^$#+\x00-\x1f\x7f-\x9f][^#+\x00-\x1f\x7f-\x9f]*")
"""No wildcards, and not what a broker keeps for itself; MQTT 5.0, 4.7."""
_LONGEST_PREFIX_BYTES = 65_000
"""A topic has at most 65,535 bytes."""
_KEEP_ALIVE_SECONDS = 15
_STATISTICS_SECONDS = 1.0
_MOST_WAITING = 100
"""Events that wait while there is no broker; newer ones are lost then."""
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Broker:
    """Where a broker is, and the topic that all others of a run begin with."""

    host: str
    port: int
    prefix: str
    tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)


class MqttSink(Output):
    """Publishes to an MQTT broker; an `Output`. A broker that is away is no error: it is looked for until it is there.

    PREFIX/status is `{"state": "online"}`, retained, and becomes "offline" by the broker itself if the process or its
    network dies, and "ended" at the end; PREFIX/statistics, retained, the figures once a second; PREFIX/events every
    event, delivered at least once.

    Args:
        broker: Where.
        events: Gets "mqtt-lost" and "mqtt-back".

    Raises:
        MissingDependencyError: paho-mqtt is not installed.
    """

    form = "mqtt:URL"
    kind = "mqtt"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens mqtt://HOST/PREFIX, or where one stands: @FILE or env:NAME; see `SinkKind`."""
        address = SourceAddress.given(place)
        with address.concealing():
            broker = parse_broker(address)
            if context.camera:
                broker = replace(broker, prefix=f"{broker.prefix}/{context.camera}")
            sink = MqttSink(broker, context.events, str(address))
        return in_background(sink, context.events, live=context.live, watch=context.watch)

    def __init__(self, broker: Broker, events: EventLog, name: str = "The broker") -> None:
        library = import_optional("paho.mqtt.client", "paho-mqtt", "mqtt", "sends figures to an MQTT broker")
        self._prefix, self._name, self._events = broker.prefix, name, events
        self._is_lost = False
        self._next_statistics = 0.0
        client = library.Client(library.CallbackAPIVersion.VERSION2)
        client.on_connect, client.on_disconnect, client.on_connect_fail = self._connected, self._lost, self._refused
        client.max_queued_messages_set(_MOST_WAITING)
        client.reconnect_delay_set(1, 15)
        client.will_set(self._topic("status"), _status("offline"), qos=1, retain=True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set()
        client.connect_async(broker.host, broker.port, keepalive=_KEEP_ALIVE_SECONDS)
        self._client = client
        client.loop_start()

    def write(self, result: FrameResult) -> None:
        """Takes no frames: a broker gets figures and events."""

    def note(self, note: Note) -> None:
        """Publishes figures, once a second, or an event."""
        if isinstance(note, Event):
            self._client.publish(self._topic("events"), json_text(asdict(note)), qos=1)
            return
        now = time.monotonic()
        if now >= self._next_statistics:
            self._next_statistics = now + _STATISTICS_SECONDS
            self._client.publish(self._topic("statistics"), _figures(note), qos=0, retain=True)

    def reset(self) -> None:
        """Holds nothing that an error could spoil."""

    def close(self) -> None:
        """Says that the run has ended, and leaves."""
        try:
            if self._client.is_connected():
                ended = self._client.publish(self._topic("status"), _status("ended"), qos=1, retain=True)
                ended.wait_for_publish(_CLOSE_SECONDS)
        finally:  # a full queue raises, and the connection must not go on after the run
            self._client.disconnect()
            self._client.loop_stop()

    def _topic(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _connected(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            self._report(f"{self._name} refuses the connection: {reason}.")
            return
        client.publish(self._topic("status"), _status("online"), qos=1, retain=True)
        if self._is_lost:
            self._is_lost = False
            self._events.add("mqtt-back", "info", f"{self._name} is there again.")

    def _lost(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            self._report(f"{self._name} is lost: {reason}; it is connected again until it is back.")

    def _refused(self, _client: Any, _data: Any) -> None:  # noqa: ANN401
        self._report(f"{self._name} does not answer; it is connected again until it does.")

    def _report(self, text: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._events.add("mqtt-lost", "warning", text)


def parse_broker(address: SourceAddress) -> Broker:
    """Reads mqtt://user:password@host:port/prefix, or mqtts://.

    Raises:
        ConfigError: It is written differently.

    >>> parse_broker(SourceAddress("mqtt://10.0.0.5/fleet/vehicle7"))
    Broker(host='10.0.0.5', port=1883, prefix='fleet/vehicle7', tls=False, user=None)
    """
    fix = "Write it as mqtt://10.0.0.5/vehicle7, or mqtts:// for an encrypted connection."
    mistake = ConfigError(f"{address} is no address of a broker.", fix)
    try:
        parts = urlsplit(address.reveal())
        port = parts.port
    except ValueError:
        raise mistake from None
    if parts.scheme not in _SCHEMES:
        raise ConfigError(f"{address} is no address of a broker: it begins with neither mqtt:// nor mqtts://.", fix)
    if not parts.hostname or parts.query or parts.fragment:
        raise mistake
    prefix = unquote(parts.path).strip("/") or "jetseg"
    if not _PREFIX.fullmatch(prefix) or len(prefix.encode()) > _LONGEST_PREFIX_BYTES:
        raise ConfigError(
            f"{address}: what follows the host is no topic to publish on.",
            "Leave out #, +, a leading $ and control characters, as in mqtt://10.0.0.5/fleet/vehicle7.",
        )
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return Broker(parts.hostname, port or _SCHEMES[parts.scheme], prefix, parts.scheme == "mqtts", user, password)


def _status(state: str) -> bytes:
    return json.dumps({"state": state}).encode()


def _figures(observation: Observation) -> bytes:
    level, text = judge(observation)
    return json_text({"at": observation.at, "level": level, "text": text, **flat_figures(observation)})
