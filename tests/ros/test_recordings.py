"""Recordings: what jetseg writes others read, and replays; what others write jetseg reads, as far as it is whole."""

import json
import signal
import sqlite3
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("mcap", reason="mcap (extra `mcap`) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra `mcap`) is not installed")

from small_network import CLASSES, write_small_network

from jetseg.camera.sinks.mcap import CLASS_MAPS_TOPIC, FRAMES_TOPIC
from jetseg.camera.sources.opening import open_source
from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError, DataError, JetsegError
from jetseg.monitor.events import EventLog
from jetseg.ros.mcap_reading import McapRecording
from jetseg.ros.message_types import IMAGE, definition, to_cdr
from jetseg.ros.messages import compressed_message, image_message
from jetseg.ros.recording import open_recording
from jetseg.ros.stamp import Stamp
from jetseg.workflows.driving import run_camera
from jetseg.workflows.replaying import replay

FRAMES = 100


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Gives a network, and the folder of a recording of it."""
    folder = tmp_path_factory.mktemp("recorded")
    network, drives = write_small_network(folder), folder / "drives"
    run_camera(network, source=f"synthetic:{FRAMES}", labels=False, threads=1, record_mcap=drives)
    return network, drives


def only_file(folder):
    (found,) = folder.glob("*.mcap")
    return found


@pytest.mark.long
def test_others_decode_what_is_recorded(recorded):
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_typestore

    path = only_file(recorded[1])
    counts, stamps = {}, {FRAMES_TOPIC: [], CLASS_MAPS_TOPIC: []}
    with path.open("rb") as file:
        for _, channel, _, message in make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages(
            topics=[FRAMES_TOPIC, CLASS_MAPS_TOPIC, f"{CLASS_MAPS_TOPIC}/label_info"]
        ):
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            if channel.topic in stamps:
                stamps[channel.topic].append((message.header.stamp.sec, message.header.stamp.nanosec))
            if channel.topic == FRAMES_TOPIC:
                assert cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR).shape == (192, 320, 3)
    assert counts == {FRAMES_TOPIC: FRAMES, CLASS_MAPS_TOPIC: FRAMES, f"{CLASS_MAPS_TOPIC}/label_info": 1}
    assert stamps[FRAMES_TOPIC] == stamps[CLASS_MAPS_TOPIC]
    store, maps = get_typestore(Stores.ROS2_JAZZY), 0
    with Reader(path) as reader:
        wanted = [entry for entry in reader.connections if entry.topic == CLASS_MAPS_TOPIC]
        for connection, _, content in reader.messages(wanted):
            message = store.deserialize_cdr(content, connection.msgtype)
            maps += message.data.max() < len(CLASSES) and message.encoding == "mono8"
    assert maps == FRAMES
    with path.open("rb") as file:
        topics = [
            (channel.topic, json.loads(message.data))
            for _, channel, message in make_reader(file).iter_messages(topics=["/jetseg/statistics", "/jetseg/events"])
        ]
    assert all("summary" in found for topic, found in topics if topic == "/jetseg/statistics")


@pytest.mark.long
def test_a_recording_replays_to_identical_class_maps(recorded):
    network, drives = recorded
    found = replay(drives, network, threads=1)
    assert (found.frames, found.identical, found.agreement) == (FRAMES, FRAMES, 100.0)
    assert (found.unmatched, found.corrupt, found.damage) == (0, 0, "")


def test_another_engine_is_told_apart(recorded, tmp_path):
    _, drives = recorded
    found = replay(drives, write_small_network(tmp_path, seed=1), threads=1)
    assert found.frames == FRAMES
    assert found.agreement < 99
    assert found.worst_agreement <= found.agreement


def test_of_two_frames_of_one_moment_one_counts_as_unmatched(recorded, monkeypatch):
    network, drives = recorded
    messages = McapRecording.messages

    def frames_twice(self, topics):
        for stored in messages(self, topics):
            yield from [stored] * (1 + (stored.topic == FRAMES_TOPIC))

    monkeypatch.setattr(McapRecording, "messages", frames_twice)
    found = replay(drives, network, threads=1)
    assert (found.frames, found.unmatched) == (FRAMES, FRAMES)


def test_a_recording_is_a_source_and_data(recorded):
    drives = recorded[1]
    source = open_source(f"mcap:{drives}:{FRAMES_TOPIC}")
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    assert len(frames) == FRAMES
    assert [frame.sequence for frame in frames] == list(range(FRAMES))
    split, drawn = open_split(f"mcap:{drives}:{FRAMES_TOPIC}", "all"), open_split(f"synthetic:{FRAMES}", "test")
    assert len(split) == FRAMES
    for index in (99, 0, 41):
        assert np.array_equal(split[index].image_hwc_u8, drawn[index].image_hwc_u8)
        assert np.array_equal(split[index].image_hwc_u8, frames[index].image_hwc_u8)
    assert len(open_split(f"mcap:{drives}:{FRAMES_TOPIC}", "train")) == 80


def test_which_topic_is_meant_must_be_said(recorded):
    drives = recorded[1]
    with pytest.raises(DataError, match=f"{FRAMES_TOPIC}, {CLASS_MAPS_TOPIC}"):
        open_source(f"mcap:{drives}")
    with pytest.raises(DataError, match="no pictures of /other"):
        open_source(f"mcap:{drives}:/other")
    with pytest.raises(ConfigError, match="names no recording"):
        open_source("mcap::/topic")
    with pytest.raises(DataError, match="does not exist"):
        open_source("mcap:nowhere.mcap:/topic")


def test_a_replay_reads_the_recording_once(recorded, monkeypatch):
    network, drives = recorded
    asked = []
    messages = McapRecording.messages
    monkeypatch.setattr(McapRecording, "messages", lambda self, topics: asked.append(topics) or messages(self, topics))
    assert replay(drives, network, threads=1).frames
    assert len(asked) == len(list(drives.glob("*.mcap")))


def test_a_recording_that_was_cut_replays_up_to_there(recorded, tmp_path):
    network, drives = recorded
    content = only_file(drives).read_bytes()
    lengths, counts = np.linspace(9, len(content) - 1, 40).astype(int), []
    for length in lengths:
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(content[:length])
        stored = open_recording(cut)
        counts.append(sum(1 for _ in stored.messages([CLASS_MAPS_TOPIC])))
        assert counts[-1] == FRAMES or stored.damage
        stored.close()
    assert counts == sorted(counts)
    assert counts[-1] == FRAMES
    assert counts[len(counts) // 2] > FRAMES // 4
    cut.write_bytes(content[: len(content) // 2])
    found = replay(cut, network, threads=1)
    assert found.frames == found.identical > FRAMES // 4
    assert "cut" in found.damage


def test_the_end_of_a_cut_source_is_told(recorded, tmp_path):
    content = only_file(recorded[1]).read_bytes()
    cut, events = tmp_path / "cut.mcap", EventLog()
    cut.write_bytes(content[: len(content) // 2])
    source = open_source(f"mcap:{cut}:{FRAMES_TOPIC}", events=events)
    while source.read() is not None:
        pass
    assert source.read() is None
    source.close()
    assert [event.kind for event in events.recent()] == ["recording-damaged"]


@pytest.mark.long
def test_a_killed_run_leaves_what_it_recorded(tmp_path):
    network, drives = write_small_network(tmp_path), tmp_path / "drives"
    command = [sys.executable, "-c", "from jetseg.cli.main import main; main()", "run", network]
    process = subprocess.Popen(
        [*command, "--source", "synthetic", "--no-labels", "--record-mcap", drives], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            files = list(drives.glob("*.mcap")) if drives.is_dir() else []
            if files and files[0].stat().st_size > 2_000_000:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = replay(drives, network, threads=1)
    assert found.frames == found.identical > 5


@pytest.fixture
def foreign(tmp_path):
    """Gives a function that writes a bag of rosbag2: its kind, messages as (topic, type, content, time)."""

    def write(kind, messages):
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
        store, topics, folder = get_typestore(Stores.ROS2_JAZZY), {}, tmp_path / f"bag_{kind}"
        with Writer(folder, version=9, storage_plugin=plugin) as writer:
            for topic, message_type, content, moment in messages:
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, message_type, typestore=store)
                writer.write(topics[topic], moment, content)
        return folder

    return write


def odd_messages():
    """Zero stamps, a size that changes, an encoding that is not known, garbage, and other topics."""
    gray = [np.full((4 + 2 * number, 6), number, np.uint8) for number in range(4)]
    messages = [
        ("/cam/image_raw", IMAGE, to_cdr(image_message(picture, "mono8", Stamp(0, ""))), 10**18 + number)
        for number, picture in enumerate(gray)
    ]
    messages[2:2] = [
        ("/cam/image_raw", IMAGE, to_cdr(image_message(gray[0], "rgb99", Stamp(0, ""))), 10**18),
        ("/cam/image_raw", IMAGE, b"\0\1\0\0\xff", 10**18),
        ("/text", "std_msgs/msg/String", b"\0\1\0\0\2\0\0\0a\0", 5),
    ]
    color = np.full((8, 8, 3), 9, np.uint8)
    content = to_cdr(compressed_message(color, Stamp(7, "left"), lossless=True))
    return [*messages, ("/left/compressed", "sensor_msgs/msg/CompressedImage", content, 3)]


@pytest.mark.parametrize("kind", ["mcap", "sqlite"])
def test_an_odd_bag_of_others_runs(foreign, tmp_path, kind):
    bag, events = foreign(kind, odd_messages()), EventLog()
    source = open_source(f"mcap:{bag}:/cam/image_raw", events=events)
    frames = [source.read() for _ in range(4)]
    assert [frame.image_hwc_u8.shape[0] for frame in frames] == [4, 6, 8, 10]
    assert [int(frame.image_hwc_u8[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert source.read() is None
    assert source.losses.corrupt == 2
    assert "'rgb99', which is not known" in events.recent()[0].text
    source.close()
    split = open_split(f"mcap:{bag}:/cam/image_raw", "all")
    assert [int(split[index].image_hwc_u8[0, 0, 0]) for index in range(len(split))] == [0, 1, 2, 3]
    left = open_source(f"mcap:{bag}:/left/compressed").read()
    assert left.stamp == Stamp(7, "left")
    result = run_camera(write_small_network(tmp_path), source=f"mcap:{bag}:/cam/image_raw", threads=1)
    assert (result.summary.frames, result.summary.corrupt, result.summary.dropped) == (4, 2, 0)


def test_a_recording_at_its_own_pace(foreign):
    gray = to_cdr(image_message(np.zeros((4, 4), np.uint8), "mono8", Stamp(0, "")))
    moments = [0, 50_000_000, 200_000_000]
    bag = foreign("mcap", [("/cam", IMAGE, gray, 10**18 + moment) for moment in moments])
    source = open_source(f"mcap:{bag}:/cam?pace=stamps")
    assert source.live
    captured = []
    while len(captured) < 3:
        try:
            captured.append(source.read().captured_at)
        except TimeoutError:
            continue
    assert np.diff(captured) == pytest.approx([0.05, 0.15], abs=0.03)
    source.close()


def test_an_mcap_file_without_chunks_or_index_reads(tmp_path):
    from mcap.writer import CompressionType, IndexType, Writer

    for number, options in enumerate(
        [
            {"use_chunking": False, "index_types": IndexType.NONE},
            {"compression": CompressionType.LZ4, "index_types": IndexType.NONE},
            {"compression": CompressionType.NONE, "repeat_channels": False},
        ]
    ):
        path = tmp_path / f"{number}.mcap"
        writer = Writer(str(path), **options)
        writer.start()
        schema = writer.register_schema(IMAGE, "ros2msg", definition(IMAGE).encode())
        channel = writer.register_channel("/cam", "cdr", schema)
        for value in range(5):
            picture = image_message(np.full((4, 4), value, np.uint8), "mono8", Stamp(value, ""))
            writer.add_message(channel, value, to_cdr(picture), value)
        writer.finish()
        split = open_split(f"mcap:{path}", "all")
        assert [int(split[index].image_hwc_u8[0, 0, 0]) for index in range(5)] == list(range(5))


def test_a_chunk_that_states_more_than_memory_holds_is_skipped(recorded, tmp_path):
    content = bytearray(only_file(recorded[1]).read_bytes())
    place = 8
    while content[place] != 6:
        place += 9 + int.from_bytes(content[place + 1 : place + 9], "little")
    content[place + 9 + 16 : place + 9 + 24] = (1 << 60).to_bytes(8, "little")
    bomb = tmp_path / "bomb.mcap"
    bomb.write_bytes(content)
    stored = open_recording(bomb)
    assert sum(1 for _ in stored.messages([CLASS_MAPS_TOPIC])) > 50
    assert "it states 1152921504606846976 bytes" in stored.damage


def test_a_database_that_is_none_is_named(tmp_path):
    text = tmp_path / "text.db3"
    text.write_text("no database at all, but long enough to be read as one" * 20)
    other = tmp_path / "other.db3"
    with sqlite3.connect(other) as base:
        base.execute("CREATE TABLE things (id INTEGER)")
    base.close()
    view = tmp_path / "view.db3"
    with sqlite3.connect(view) as base:
        base.execute("CREATE TABLE topics (id, name, type, serialization_format)")
        base.execute("CREATE VIEW messages AS SELECT 1 AS id, 1 AS topic_id, 1 AS timestamp, x'' AS data")
    base.close()
    torn = tmp_path / "torn.db3"
    with sqlite3.connect(torn) as base:
        base.execute("CREATE TABLE messages (id INTEGER, topic_id INTEGER)")
    base.close()
    # SQLite then says "malformed database schema (...)" with what is no text
    torn.write_bytes(torn.read_bytes().replace(b"messagesmessages", b"mess\xff\xff\xffsmessages"))
    for path in (text, other, view, torn):
        with pytest.raises(DataError, match="is no recording of rosbag2"):
            open_source(f"mcap:{path}:/cam")


@pytest.mark.fuzz
def test_files_of_anyone_give_pictures_or_a_reason(foreign, tmp_path, trials):
    whole = [
        next(foreign(kind, odd_messages()).glob(f"*.{kind if kind == 'mcap' else 'db3'}"))
        for kind in ("mcap", "sqlite")
    ]
    for draw in trials(60):
        origin = draw.choice(whole)
        content = bytearray(origin.read_bytes())
        for _ in range(draw.randint(1, 8)):
            content[draw.randrange(len(content))] = draw.choice([0, 1, 255, draw.randrange(256)])
        path = tmp_path / f"changed{origin.suffix}"
        path.write_bytes(content[: draw.randint(1, len(content))] if draw.random() < 0.3 else content)
        try:
            source = open_source(f"mcap:{path}:/cam/image_raw")
        except JetsegError:
            continue
        try:
            while source.read() is not None:
                pass
        except JetsegError:
            pass
        source.close()
        path.unlink()
