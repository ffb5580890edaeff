"""DDS through Cyclone, as the middlewares of ROS 2 use it: names with a prefix, types with another name, plain CDR.

Cyclone's Python only carries the bytes, which rosbags makes and reads: its own serializer takes a hundred times as
long. Bytes that are no message of a topic's type Cyclone itself drops.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from threading import Event, Thread
from time import perf_counter
from typing import Any

from jetseg.errors import DeviceError, import_optional
from jetseg.ros.bus import Delivery, Publisher, Received, Receiver
from jetseg.ros.message_types import COMPRESSED_IMAGE, MOST_MESSAGE_BYTES, dds_name, fields_of
from jetseg.ros.names import RosSettings

_LOG = logging.getLogger(__name__)
_PREFIX = "rt"
_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 2.0
_TAKEN = 10
_GRAPH_SECONDS = 1.0
_BASIC = {"string": "str", "byte": "uint8"}


class DdsBus:
    """A participant of DDS; see `jetseg.ros.bus.Bus`.

    It is configured as Cyclone always is, by CYCLONEDDS_URI.

    Raises:
        DeviceError: The domain cannot be joined.
        MissingDependencyError: cyclonedds is not installed.
    """

    name = "DDS"

    def __init__(self, settings: RosSettings) -> None:
        self._core = _library("core")
        self._readers: list[_Reader] = []
        self._publishers: list[_DdsPublisher] = []
        try:
            self._participant: Any = _library("domain").DomainParticipant(settings.domain_id())
        except self._core.DDSException as error:
            raise DeviceError(
                f"The domain {settings.domain_id()} of DDS cannot be joined: {error}.", "Check CYCLONEDDS_URI."
            ) from error

    def publisher(self, topic: str, message_type: str, delivery: Delivery) -> Publisher:
        """Announces a topic; see `Bus`."""
        raw = _raw_type(message_type)
        described = _library("topic").Topic(self._participant, f"{_PREFIX}{topic}", raw)
        writer = _library("pub").DataWriter(self._participant, described, qos=_quality(delivery))
        publisher = _DdsPublisher(writer, raw)
        self._publishers.append(publisher)
        return publisher

    def subscribe(self, topic: str, message_types: Sequence[str], receiver: Receiver) -> None:
        """Listens to a topic; see `Bus`. Of several types it is the one that the topic's name tells."""
        compressed = topic.endswith("/compressed") and COMPRESSED_IMAGE in message_types
        message_type = COMPRESSED_IMAGE if compressed else message_types[0]
        described = _library("topic").Topic(self._participant, f"{_PREFIX}{topic}", _raw_type(message_type))
        quality = _quality(Delivery())
        reader = _library("sub").DataReader(self._participant, described, qos=quality)
        self._readers.append(_Reader(self._participant, reader, message_type, receiver))

    def topics(self) -> list[str]:
        """Returns the topics that somebody publishes; see `Bus`."""
        builtin, wait = _library("builtin"), Event()
        reader = builtin.BuiltinDataReader(self._participant, builtin.BuiltinTopicDcpsPublication)
        wait.wait(_GRAPH_SECONDS)
        names = {sample.topic_name for sample in reader.read(N=1000) if hasattr(sample, "topic_name")}
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(f"{_PREFIX}/"))

    def close(self) -> None:
        """Leaves the bus; may be called twice. Cyclone does when nothing of it is held any more."""
        for reader in self._readers:
            reader.close()
        for publisher in self._publishers:
            publisher.close()
        self._readers.clear()
        self._publishers.clear()
        self._participant = None


class _Reader:
    """Takes what comes, in a thread."""

    def __init__(self, participant: Any, reader: Any, message_type: str, receiver: Receiver) -> None:  # noqa: ANN401
        self._core = _library("core")
        self._reader: Any = reader
        self._message_type = message_type
        self._receiver = receiver
        self._ended = Event()
        self._waiting = self._core.WaitSet(participant)
        self._condition = self._core.ReadCondition(
            reader, self._core.ViewState.Any | self._core.InstanceState.Alive | self._core.SampleState.NotRead
        )
        self._waiting.attach(self._condition)
        self._thread = Thread(target=self._work, name="jetseg-dds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(_CLOSE_SECONDS)
        self._reader = self._waiting = self._condition = None

    def _work(self) -> None:
        patience = _library("util").duration(seconds=_POLL_SECONDS)
        reader, waiting, condition = self._reader, self._waiting, self._condition
        while not self._ended.is_set():
            with suppress(self._core.DDSException):
                if not waiting.wait(patience):
                    continue
                for sample in reader.take(N=_TAKEN, condition=condition):
                    content = getattr(sample, "content", None)  # which the end of a publisher lacks
                    if content is not None:
                        self._receiver(Received(content, self._message_type, perf_counter()))


class _DdsPublisher:
    """Sends the messages of one topic."""

    def __init__(self, writer: Any, raw: Any) -> None:  # noqa: ANN401
        self._writer = writer
        self._raw = raw

    def send(self, content: bytes) -> None:
        try:
            self._writer.write(self._raw.of(content))
        except _library("core").DDSException as error:
            # a reader that stands still: what it has not taken yet is replaced by the next one
            _LOG.debug("A message of DDS was not sent: %s", error)

    def is_wanted(self) -> bool:
        return bool(self._writer.get_matched_subscriptions())

    def close(self) -> None:
        self._writer = None


def _library(module: str) -> Any:  # noqa: ANN401 - cyclonedds is optional
    return import_optional(f"cyclonedds.{module}", "cyclonedds", "ros2", "reaches ROS 2 over DDS")


def _quality(delivery: Delivery) -> Any:  # noqa: ANN401
    qos, duration = _library("qos"), _library("util").duration
    policy = qos.Policy
    return qos.Qos(
        policy.Reliability.Reliable(max_blocking_time=duration(milliseconds=1))
        if delivery.reliable
        else policy.Reliability.BestEffort,
        policy.Durability.TransientLocal if delivery.latched else policy.Durability.Volatile,
        policy.History.KeepLast(delivery.depth),
        policy.DataRepresentation(use_cdrv0_representation=True),
    )


@lru_cache(maxsize=16)
def _raw_type(message_type: str) -> Any:  # noqa: ANN401
    """Makes a type that Cyclone describes to others as what it is, and whose samples are bytes."""
    described = _described(message_type)

    def of(content: bytes) -> Any:  # noqa: ANN401
        sample = described.__new__(described)
        sample.content = content
        return sample

    described.of = staticmethod(of)
    described.serialize = lambda self, **_: self.content
    described.deserialize = staticmethod(
        lambda content, **_: of(bytes(content) if len(content) <= MOST_MESSAGE_BYTES else b"")
    )
    return described


@lru_cache(maxsize=32)
def _described(message_type: str) -> Any:  # noqa: ANN401
    idl, types = _library("idl"), _library("idl.types")
    fields = {}
    for part in fields_of(message_type):
        if part.is_message:
            kind = _described(part.kind)
        else:
            name = _BASIC.get(part.kind, part.kind)
            kind = str if name == "str" else getattr(types, name)
        fields[part.name] = types.sequence[kind] if part.is_sequence else kind
    short = message_type.rpartition("/")[2]
    return idl.make_idl_struct(f"{short}_", dds_name(message_type).replace("::", "."), fields)
