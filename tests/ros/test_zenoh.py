"""Zenoh between real processes: a camera and a subscriber with rmw_zenoh's keys on one side, the loop on the other."""

import os
import signal
import time

import pytest

pytest.importorskip("zenoh", reason="eclipse-zenoh (extra `ros2`) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra `ros2`) is not installed")

import numpy as np
from trial import Loop, await_true, check_report, free_port, peer, report_of, transport_ms

from jetseg.camera.sources.opening import open_source
from jetseg.errors import ConfigError, DeviceError
from jetseg.ros.bus import Delivery
from jetseg.ros.message_types import IMAGE
from jetseg.ros.names import RosSettings
from jetseg.ros.zenoh_bus import ZenohBus


def place(topic, port):
    return f"{topic}?transport=zenoh&domain=0&router=tcp/127.0.0.1:{port}"


@pytest.mark.long
@pytest.mark.parametrize(("count", "least"), [(60, 0.3), pytest.param(300, 0.9, marks=pytest.mark.slow)])
def test_a_loop_between_two_topics(count, least):
    port = free_port()
    with (
        peer("zenoh_peer.py", port, count, 30) as process,
        Loop(place("/camera/image_raw", port), place("/segmentation", port), wait=True) as loop,
    ):
        found = report_of(process)
    check_report(found, count, least)
    added_ms = transport_ms(found, loop)
    print("class map to subscriber, ms:", np.percentile(added_ms, [50, 95, 99]).round(2))  # noqa: T201
    print(len(found["received"]), "of", count)  # noqa: T201
    assert np.percentile(added_ms, 50) < 10  # of a machine that others use
    assert len(found["labels"]) == 1
    assert "vision_msgs::msg::dds_::LabelInfo_/RIHS01_" in found["labels"][0]
    assert found["diagnostics"] >= 1
    assert found["attachments"] == [[33, 16]]
    numbers = found["numbers"]
    assert numbers == sorted(set(numbers))
    named = [token.split("/", 5)[5] for token in found["tokens"]]
    topic = "%segmentation/sensor_msgs::msg::dds_::Image_/RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb"
    assert any(token.startswith(f"MP/%/%/jetseg/{topic}") and token.endswith("/2::,1:,:,:,,") for token in named)
    assert any(token.startswith("MS/%/%/jetseg/%camera%image_raw/") for token in named)
    assert "NN/%/%/jetseg" in named


@pytest.mark.long
def test_a_publisher_that_starts_anew_is_found_again():
    port = free_port()
    with (
        peer("zenoh_peer.py", port, 3000, 30) as process,
        Loop(place("/camera/image_raw", port), place("/segmentation", port), wait=True) as loop,
    ):
        await_true(lambda: loop.statistics.rate.count > 5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        await_true(lambda: "camera-stalled" in loop.kinds())
        with peer("zenoh_peer.py", port, 3000, 30) as again:
            assert again.stdout.readline() == "matched\n"
            began = time.perf_counter()
            await_true(lambda: "camera-back" in loop.kinds())
            assert time.perf_counter() - began < 3
            assert "stage-stopped" not in loop.kinds()


@pytest.fixture
def buses():
    """Gives two nodes, and the port of the router between them."""
    import zenoh

    port, config = free_port(), zenoh.Config()
    config.insert_json5("mode", '"router"')
    config.insert_json5("listen/endpoints", f'["tcp/127.0.0.1:{port}"]')
    config.insert_json5("scouting/multicast/enabled", "false")
    settings = RosSettings(router=f"tcp/127.0.0.1:{port}", domain=0)
    with zenoh.open(config):
        first, second = ZenohBus(settings), ZenohBus(settings)
        yield first, second, port
        first.close()
        second.close()


def test_garbage_is_counted_and_named_and_the_loop_goes_on(buses):
    from peer import picture

    sender, _, port = buses
    camera = sender.publisher("/camera/image_raw", IMAGE, Delivery())
    other = sender.publisher("/camera/image_raw", "diagnostic_msgs/msg/DiagnosticArray", Delivery())
    with Loop(place("/camera/image_raw", port), place("/segmentation", port), wait=True) as loop:
        await_true(camera.is_wanted)
        for number, content in enumerate([b"", b"\0\1\0\0" + b"\xff" * 90, picture(0, 1.0)[0][:-1]] * 3):
            camera.send(content)
            await_true(lambda number=number: loop.source.losses.corrupt == number + 1)
        other.send(b"\0\1\0\0")
        await_true(lambda: loop.source.losses.corrupt == 10)
        camera.send(picture(1, time.time())[0])
        await_true(lambda: loop.statistics.rate.count == 1)
        await_true(lambda: sum(e.values["count"] for e in loop.events.recent() if e.kind == "frame-corrupt") >= 9)
    texts = " ".join(event.text for event in loop.events.recent() if event.kind == "frame-corrupt")
    assert "no sensor_msgs/msg/Image" in texts
    assert loop.statistics.captured == 11


def test_stamps_date_frames_where_clocks_agree_and_arrival_where_not(buses):
    from peer import picture

    sender, _, port = buses
    camera = sender.publisher("/camera/image_raw", IMAGE, Delivery())
    source = open_source(f"ros2:{place('/camera/image_raw', port)}", wait=True)
    await_true(camera.is_wanted)
    for ago, expected, dated_by in ((0.5, 0.5, "capture"), (3600.0, 0.0, "arrival")):
        camera.send(picture(0, time.time() - ago)[0])
        frame = read(source)
        assert time.perf_counter() - frame.captured_at == pytest.approx(expected, abs=0.15)
        assert frame.stamp.frame_id == "front"
        assert frame.dated_by == dated_by
    source.close()


def read(source, seconds=10):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        try:
            return source.read()
        except TimeoutError:
            continue
    raise AssertionError("no frame came")


def test_simulated_time_is_that_of_clock(buses):
    from peer import picture

    from jetseg.ros.message_types import CLOCK, make, to_cdr

    sender, _, port = buses
    camera = sender.publisher("/camera/image_raw", IMAGE, Delivery())
    clock = sender.publisher("/clock", CLOCK, Delivery())
    source = open_source(f"ros2:{place('/camera/image_raw', port)}&sim_time=true", wait=True)
    await_true(lambda: camera.is_wanted() and clock.is_wanted())
    clock.send(to_cdr(make(CLOCK, clock=make("builtin_interfaces/msg/Time", sec=100, nanosec=0))))
    await_true(lambda: source._clock._now is not None)
    camera.send(picture(0, 99.0)[0])
    assert time.perf_counter() - read(source).captured_at == pytest.approx(1.0, abs=0.15)
    source.close()


def test_a_topic_without_a_publisher_is_named_with_those_that_there_are(buses, monkeypatch):
    from jetseg.camera.config import LiveLimits

    sender, _, port = buses
    sender.publisher("/front/image", IMAGE, Delivery())
    with pytest.raises(DeviceError, match="no picture within 1 seconds over zenoh; topics there: .*/front/image"):
        open_source(f"ros2:{place('/camera/image_raw', port)}", limits=LiveLimits(hung=1.0))


def test_a_subscriber_that_stands_still_takes_no_time(buses):
    sender, _, port = buses
    with peer("zenoh_sleeper.py", port) as process:
        publisher = sender.publisher("/segmentation", IMAGE, Delivery())
        await_true(publisher.is_wanted)
        process.send_signal(signal.SIGSTOP)
        began = time.perf_counter()
        for _ in range(200):
            publisher.send(bytes(480 * 360))  # far more than sockets hold
        assert time.perf_counter() - began < 2
        os.kill(process.pid, signal.SIGCONT)


def test_places_that_are_written_wrongly():
    for wrong, reason in (
        ("ros2:/a b", "is no topic"),
        ("ros2:/" + "a" * 247, "has 248 characters, and ROS 2 takes 247"),
        ("ros2:/a?domain=300", "domain"),
        ("ros2:/a?colour=1", "colour"),
        ("ros2:/a?domain", "domain"),
        ("ros2:/a?transport=zenoh&router=elsewhere", "router"),
    ):
        with pytest.raises(ConfigError, match=reason):
            open_source(wrong)


def test_a_run_publishes_by_its_setting(buses, tmp_path):
    from small_network import write_small_network

    from jetseg.workflows.driving import run_camera

    _, second, port = buses
    got = []
    second.subscribe("/segmentation", [IMAGE], got.append)
    found = run_camera(
        write_small_network(tmp_path),
        source="synthetic:60",
        labels=False,
        threads=1,
        ros2=f"/segmentation?transport=zenoh&domain=0&router=tcp/127.0.0.1:{port}&frame_id=front",
    )
    assert (found.summary.frames, found.summary.dropped) == (60, 0)
    await_true(lambda: got)
    from jetseg.ros.images import read_picture

    picture = read_picture(got[-1].content, got[-1].message_type)
    assert picture.stamp.frame_id == "front"
    assert abs(picture.stamp.nanoseconds / 1e9 - time.time()) < 120
