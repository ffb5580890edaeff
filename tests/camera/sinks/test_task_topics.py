"""Further tasks on topics of ROS 2: what is sent, and what is recorded."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags (extra `ros2`) is not installed")

from dataclasses import replace

from camera_fakes import MANIFEST
from results import result

from jetseg.camera.sinks.mcap import McapSink
from jetseg.camera.sinks.ros2 import Ros2Sink
from jetseg.camera.sinks.task_topics import task_topics
from jetseg.config import changed
from jetseg.errors import ConfigError
from jetseg.output_spec import DepthSpec, OutputSpec
from jetseg.ros.message_types import IMAGE, LABEL_INFO, from_cdr

DEPTH = OutputSpec(name="depth", task="depth", depth=DepthSpec(unit="cm", low=10, high=9000))
LANE = OutputSpec(name="head/lane:0", task="binary")
SEVERAL = MANIFEST.changed(outputs=(changed(MANIFEST.output, name="classes"), LANE, DEPTH))


class FakeBus:
    """Keeps what is sent, by topic."""

    def __init__(self):
        self.sent, self.types = {}, {}

    def publisher(self, topic, message_type, delivery):
        bus = self
        bus.types[topic] = message_type

        class Publisher:
            def send(self, content):
                bus.sent.setdefault(topic, []).append(content)

            def is_wanted(self):
                return False

        return Publisher()

    def close(self):
        pass


def frame_of_several():
    depth = np.linspace(10, 9000, 48 * 64, dtype=np.float32).reshape(48, 64)
    depth[3, 5] = np.nan
    lane = np.eye(48, 64, dtype=np.uint8)
    return replace(result(1), further={"head/lane:0": lane, "depth": depth}), lane, depth


def check(messages, lane, depth):
    """Compares the messages of one frame, by topic, with its maps."""
    found = {topic: from_cdr(content, IMAGE) for topic, content in messages.items()}
    meters = found["/segmentation/depth"]
    assert (meters.encoding, meters.height, meters.width, meters.step) == ("32FC1", 48, 64, 256)
    np.testing.assert_allclose(meters.data.view("<f4").reshape(48, 64), depth / 100, rtol=1e-6)
    mask = found["/segmentation/head_lane_0"]
    assert (mask.encoding, mask.step) == ("mono8", 64)
    np.testing.assert_array_equal(mask.data.reshape(48, 64), lane)
    assert len({(one.header.stamp.sec, one.header.stamp.nanosec) for one in found.values()}) == 1


def test_each_task_has_a_topic_and_depth_is_in_meters():
    bus = FakeBus()
    sink = Ros2Sink(bus, "/segmentation", SEVERAL)
    frame, lane, depth = frame_of_several()
    sink.write(frame)
    topics = ["/segmentation", "/segmentation/depth", "/segmentation/head_lane_0"]
    check({topic: bus.sent[topic][0] for topic in topics}, lane, depth)
    labels = from_cdr(bus.sent["/segmentation/head_lane_0/label_info"][0], LABEL_INFO)
    assert [one.class_name for one in labels.class_map] == ["background", "head/lane:0"]
    assert "/segmentation/depth/label_info" not in bus.types


def test_a_recording_holds_all_tasks(tmp_path):
    reader = pytest.importorskip("mcap.reader", reason="mcap (extra `mcap`) is not installed")
    sink = McapSink(tmp_path, SEVERAL)
    frame, lane, depth = frame_of_several()
    sink.write(frame)
    sink.close()
    (file,) = tmp_path.glob("*.mcap")
    with file.open("rb") as content:
        messages = {
            channel.topic: message.data for schema, channel, message in reader.make_reader(content).iter_messages()
        }
    topics = ["/segmentation", "/segmentation/depth", "/segmentation/head_lane_0"]
    check({topic: messages[topic] for topic in topics}, lane, depth)
    assert "/segmentation/head_lane_0/label_info" in messages


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((MANIFEST.output, changed(DEPTH, depth=DepthSpec(unit="1/m"))), "depth is in 1/m"),
        ((MANIFEST.output, changed(LANE, name="ego-lane"), changed(LANE, name="ego_lane")), "would share a topic"),
    ],
)
def test_what_ros_could_not_tell_is_refused(outputs, message):
    named = (changed(outputs[0], name="classes"), *outputs[1:])
    with pytest.raises(ConfigError, match=message):
        task_topics("/segmentation", MANIFEST.changed(outputs=named))
