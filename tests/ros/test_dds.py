"""DDS between real processes: Cyclone's own types on one side, the loop on the other."""

import os
import time

import pytest

pytest.importorskip("cyclonedds", reason="cyclonedds (extra `ros2`) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra `ros2`) is not installed")

import numpy as np
from peer import picture
from trial import Loop, await_true, check_report, peer, report_of, transport_ms

from jetseg.camera.config import LiveLimits
from jetseg.camera.sources.opening import open_source
from jetseg.errors import DeviceError
from jetseg.ros.bus import Delivery
from jetseg.ros.dds_bus import DdsBus
from jetseg.ros.message_types import COMPRESSED_IMAGE, IMAGE, LABEL_INFO, to_cdr
from jetseg.ros.messages import compressed_message, image_message, label_info_message
from jetseg.ros.names import RosSettings
from jetseg.ros.stamp import Stamp

LOOPBACK = (
    "<General><Interfaces><NetworkInterface name='lo' multicast='false'/></Interfaces>"
    "<AllowMulticast>false</AllowMulticast></General>"
    "<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>50</MaxAutoParticipantIndex>"
    "<Peers><Peer Address='127.0.0.1'/></Peers></Discovery>"
)


@pytest.fixture(autouse=True)
def _on_the_loopback(monkeypatch):
    monkeypatch.setenv("CYCLONEDDS_URI", LOOPBACK)


@pytest.fixture
def domain():
    """Returns a domain that no other test on this machine uses by chance."""
    return 1 + os.getpid() % 100


def place(topic, domain):
    return f"{topic}?transport=dds&domain={domain}"


def test_bytes_arrive_as_they_were_sent(domain):
    got, settings = [], RosSettings(domain=domain)
    first, second = DdsBus(settings), DdsBus(settings)
    second.subscribe("/segmentation", [IMAGE], got.append)
    publisher = first.publisher("/segmentation", IMAGE, Delivery(reliable=True))
    await_true(publisher.is_wanted)
    content = picture(1, 5.0)[0]
    publisher.send(content)
    await_true(lambda: got)
    assert (got[0].content, got[0].message_type) == (content, IMAGE)
    assert "/segmentation" in second.topics()
    first.close()
    second.close()


@pytest.mark.long
@pytest.mark.parametrize(("count", "least"), [(40, 0.3), pytest.param(300, 0.9, marks=pytest.mark.slow)])
def test_a_loop_between_two_topics(domain, count, least):
    with (
        peer("dds_peer.py", domain, count, 30) as process,
        Loop(place("/camera/image_raw", domain), place("/segmentation", domain), wait=True) as loop,
    ):
        found = report_of(process)
    check_report(found, count, least)
    assert found["typed"] == ["mono8", 360, 480, 360 * 480, "front"]  # by Cyclone's own deserializer
    print("class map to subscriber, ms:", np.percentile(transport_ms(found, loop), [50, 95, 99]).round(2))  # noqa: T201
    print(len(found["received"]), "of", count)  # noqa: T201


def test_what_is_latched_reaches_who_comes_later(domain):
    got, settings = [], RosSettings(domain=domain)
    first = DdsBus(settings)
    labels = first.publisher("/segmentation/label_info", LABEL_INFO, Delivery(reliable=True, latched=True))
    content = to_cdr(label_info_message(["sky", "road"], Stamp(1, "front")))
    labels.send(content)
    from cyclonedds.core import Policy, Qos
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration

    from jetseg.ros.dds_bus import _raw_type

    participant = DomainParticipant(domain)
    quality = Qos(
        Policy.Reliability.Reliable(duration(seconds=1)), Policy.Durability.TransientLocal, Policy.History.KeepLast(1)
    )
    topic = Topic(participant, "rt/segmentation/label_info", _raw_type(LABEL_INFO))
    reader = DataReader(participant, topic, qos=quality)
    await_true(lambda: got.extend(reader.take(N=1)) or got)
    assert got[0].content.ljust(len(content), b"\0")[: len(content)] == content
    first.close()


def test_garbage_is_counted_and_named(domain):
    sender = DdsBus(RosSettings(domain=domain))
    camera = sender.publisher("/camera/image_raw", IMAGE, Delivery(reliable=True))
    with Loop(place("/camera/image_raw", domain), place("/segmentation", domain), wait=True) as loop:
        await_true(camera.is_wanted)
        camera.send(b"\0\1\0\0" + b"\xff" * 88)  # which Cyclone itself drops
        camera.send(to_cdr(image_message(np.zeros((2, 2), np.uint8), "rgb8", Stamp(1, ""))))
        await_true(lambda: loop.source.losses.corrupt == 1)
        camera.send(picture(1, time.time())[0])
        await_true(lambda: loop.statistics.rate.count == 1)
    assert "rows of 2 bytes" in " ".join(event.text for event in loop.events.recent())
    sender.close()


def test_a_compressed_topic_is_told_by_its_name(domain):
    sender = DdsBus(RosSettings(domain=domain))
    camera = sender.publisher("/camera/image_raw/compressed", COMPRESSED_IMAGE, Delivery())
    source = open_source(f"ros2:{place('/camera/image_raw/compressed', domain)}", wait=True)
    await_true(camera.is_wanted)
    camera.send(to_cdr(compressed_message(np.full((8, 8, 3), 9, np.uint8), Stamp(1, "a"), lossless=True)))
    frames = []

    def reads():
        try:
            frames.append(source.read())
        except TimeoutError:
            return False
        return True

    await_true(reads)
    assert frames[0].image_hwc_u8.tolist() == [[[9, 9, 9]] * 8] * 8
    source.close()
    sender.close()


def test_a_subscriber_that_stands_still_takes_no_time(domain):
    sender, settings = DdsBus(RosSettings(domain=domain)), RosSettings(domain=domain)
    still = DdsBus(settings)
    still.subscribe("/segmentation", [IMAGE], lambda message: time.sleep(30))
    publisher = sender.publisher("/segmentation", IMAGE, Delivery(reliable=True))
    await_true(publisher.is_wanted)
    content, began = picture(0, 1.0)[0][: 480 * 360], time.perf_counter()
    for _ in range(200):
        publisher.send(content)
    assert time.perf_counter() - began < 4
    sender.close()


def test_a_topic_without_a_publisher_is_named(domain):
    with pytest.raises(DeviceError, match="no picture within 1 seconds over DDS"):
        open_source(f"ros2:{place('/camera/image_raw', domain)}", limits=LiveLimits(hung=1.0))


@pytest.mark.long
def test_a_publisher_that_starts_anew_is_found_again(domain):
    with (
        peer("dds_peer.py", domain, 3000, 30) as process,
        Loop(place("/camera/image_raw", domain), place("/segmentation", domain), wait=True) as loop,
    ):
        await_true(lambda: loop.statistics.rate.count > 3)
        process.kill()
        process.wait()
        await_true(lambda: "camera-stalled" in loop.kinds())
        with peer("dds_peer.py", domain, 3000, 30) as again:
            assert again.stdout.readline() == "matched\n"
            began = time.perf_counter()
            await_true(lambda: "camera-back" in loop.kinds())
            assert time.perf_counter() - began < 3
