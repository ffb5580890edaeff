"""Foxglove, seen by a websocket client that is not its own: what is advertised, subscribed and sent."""

import asyncio
import json
import struct
from itertools import cycle
from threading import Event, Thread

import numpy as np
import pytest

pytest.importorskip("foxglove", reason="foxglove-sdk (extra `foxglove`) is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

import websockets
from camera_fakes import MANIFEST
from results import result
from small_network import write_small_network

from jetseg.camera.contract import SinkContext
from jetseg.camera.sinks.foxglove import FoxgloveSink
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.stopping import StopFlag
from jetseg.errors import ConfigError
from jetseg.monitor.events import EventLog
from jetseg.ros.images import read_picture
from jetseg.ros.message_types import COMPRESSED_IMAGE, IMAGE
from jetseg.workflows.driving import open_drive

SUBPROTOCOL = "foxglove.sdk.v1"


async def watch(port, topics, enough, act):
    """Subscribes to topics and returns their messages, once `enough` says so; `act` is called meanwhile."""
    got = {topic: [] for topic in topics}
    async with websockets.connect(f"ws://127.0.0.1:{port}", subprotocols=[SUBPROTOCOL]) as socket:
        channels = {}
        while not set(topics) <= set(channels):
            message = json.loads(await socket.recv())
            for channel in message.get("channels", []):
                channels[channel["topic"]] = channel
        wanted = [{"id": number, "channelId": channels[topic]["id"]} for number, topic in enumerate(topics)]
        await socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
        while not enough(got):
            try:
                message = await asyncio.wait_for(socket.recv(), 0.02)
            except asyncio.TimeoutError:
                act()
                continue
            if isinstance(message, bytes) and message[0] == 1:
                (number, _) = struct.unpack("<IQ", message[1:13])
                got[topics[number]].append(message[13:])
    return got, channels


def test_a_client_gets_frames_and_class_maps():
    sink = FoxgloveSink("127.0.0.1", 0, MANIFEST)
    frames = [result(index) for index in range(3)]
    endless = cycle(frames)
    topics = ["/camera/image/compressed", "/segmentation", "/segmentation/overlay/compressed"]

    def act():
        sink.write(next(endless))

    enough = lambda got: all(len(found) >= 20 for found in got.values())  # noqa: E731
    got, channels = asyncio.run(asyncio.wait_for(watch(sink.port, topics, enough, act), 20))
    assert channels["/segmentation"]["schemaName"] == IMAGE
    assert channels["/segmentation"]["encoding"] == "cdr"
    maps = {
        picture.image_hwc_u8[..., 0].tobytes() for picture in (read_picture(c, IMAGE) for c in got["/segmentation"])
    }
    assert maps == {frame.class_map_hw_u8.tobytes() for frame in frames}
    first = read_picture(got["/camera/image/compressed"][0], COMPRESSED_IMAGE)
    assert first.image_hwc_u8.shape == (48, 64, 3)
    sink.close()


def test_what_nobody_watches_is_not_made(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("made for nobody")

    monkeypatch.setattr("jetseg.camera.sinks.foxglove.compressed_message", refuse)
    sink = FoxgloveSink("127.0.0.1", 0, MANIFEST)
    sink.write(result(0))
    sink.close()


def test_a_run_shows_its_figures_and_events(tmp_path):
    stop, events = StopFlag(), EventLog()
    with open_drive(
        write_small_network(tmp_path),
        source="synthetic",
        labels=False,
        threads=1,
        sinks=["foxglove:127.0.0.1:0"],
        stop=stop,
        events=events,
    ) as drive:
        port = drive._sinks[-1]._output.port
        runner = Thread(target=drive.run)
        runner.start()
        topics = ["/segmentation", "/jetseg/statistics", "/jetseg/events"]
        act = lambda: events.add("trial", "info", "It works.")  # noqa: E731
        counted = lambda got: [json.loads(text)["summary"]["frames"] for text in got["/jetseg/statistics"]]  # noqa: E731
        enough = lambda got: len(got["/segmentation"]) >= 20 and got["/jetseg/events"] and any(counted(got))  # noqa: E731
        got, channels = asyncio.run(asyncio.wait_for(watch(port, topics, enough, act), 30))
        stop.requested = True
        runner.join()
    assert any(counted(got))
    assert json.loads(got["/jetseg/events"][0])["text"] == "It works."
    assert json.loads(channels["/jetseg/events"]["schema"])["properties"]["kind"] == {"type": "string"}


def test_a_port_that_is_taken_or_none_is_named():
    sink = FoxgloveSink("127.0.0.1", 0, MANIFEST)
    with pytest.raises(ConfigError, match=f"cannot be served on 127.0.0.1:{sink.port}"):
        FoxgloveSink("127.0.0.1", sink.port, MANIFEST)
    sink.close()
    context = SinkContext(MANIFEST, EventLog(), StopFlag())
    with pytest.raises(ConfigError, match="'here' is no port"), open_sink("foxglove:here", context):
        pass


def test_the_loop_does_not_wait_for_a_picture_of_a_file_either(monkeypatch):
    shown = Event()
    monkeypatch.setattr(FoxgloveSink, "write", lambda *_: shown.wait(20))
    context = SinkContext(MANIFEST, EventLog(), StopFlag(), live=False)
    with open_sink("foxglove:0", context) as sink:
        for index in range(5):
            sink.write(result(index))
        assert sink.skipped >= 3
        shown.set()


def test_overlays_have_the_colors_weight_of_the_run():
    context = SinkContext(MANIFEST, EventLog(), StopFlag(), alpha=1.0)
    with open_sink("foxglove:0", context) as sink:
        picture = sink._output._overlay.draw(np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4), np.uint8))
    assert picture[0, 0].tolist() == list(MANIFEST.colors[0])[::-1]
