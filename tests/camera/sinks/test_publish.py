import json
import time

import pytest
from results import result

from jetseg.camera.sinks.publish import Publisher
from jetseg.errors import ConfigError


def test_subscriber_gets_class_maps_and_statistics():
    zmq = pytest.importorskip("zmq", reason="pyzmq (extra `publish`) is not installed")
    publisher = Publisher("tcp://127.0.0.1:*", ["a", "b"])
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVTIMEO, 50)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(publisher.address)
    got, index, until = {}, 0, time.perf_counter() + 10
    while len(got) < 2 and time.perf_counter() < until:
        publisher.write(result(index))
        index += 1
        try:
            topic, *parts = socket.recv_multipart()
        except zmq.Again:
            continue
        got[topic] = parts
    header = json.loads(got[b"statistics"][0])
    assert (header["height"], header["width"]) == (48, 64)
    assert header["age_ms"] == pytest.approx(10.0)
    assert sum(header["class_shares"].values()) == pytest.approx(1.0)
    header, ids = json.loads(got[b"classmap"][0]), got[b"classmap"][1]
    assert ids == result(header["sequence"]).class_map_hw_u8.tobytes()
    socket.close(linger=0)
    context.term()
    publisher.close()


def test_subscriber_that_never_reads_takes_no_time_and_no_memory():
    zmq = pytest.importorskip("zmq", reason="pyzmq (extra `publish`) is not installed")
    psutil = pytest.importorskip("psutil")
    publisher = Publisher("tcp://127.0.0.1:*", ["a", "b"])
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, 1)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(publisher.address)
    time.sleep(0.3)
    frame = result(0, 400, 600)
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    for _ in range(200):
        publisher.write(frame)
    assert time.perf_counter() - started < 4
    assert psutil.Process().memory_info().rss - before < 24_000_000  # 200 class maps would be 48 MB
    socket.close(linger=0)
    context.term()
    publisher.close()


def test_address_that_cannot_be_bound_is_named():
    pytest.importorskip("zmq", reason="pyzmq (extra `publish`) is not installed")
    with pytest.raises(ConfigError, match="nonsense cannot be bound"):
        Publisher("nonsense", ["a"])
