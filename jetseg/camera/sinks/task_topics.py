"""Topics for the further tasks of a network, as messages of ROS: class maps, and depth in meters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetseg.errors import ConfigError
from jetseg.manifest import Manifest
from jetseg.output_spec import OutputSpec
from jetseg.postprocess import TaskMap
from jetseg.ros.messages import image_message
from jetseg.ros.stamp import Stamp

_METERS = {"m": 1.0, "meter": 1.0, "meters": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "km": 1000.0, "ft": 0.3048}


@dataclass(frozen=True)
class TaskTopic:
    """Where the maps of one task go.

    Attributes:
        topic: The topic.
        task: Name of the task.
        classes: Names of its class ids; none of depth.
        meters: What a unit of its depth is; 1 of classes.
    """

    topic: str
    task: str
    classes: tuple[str, ...]
    meters: float = 1.0

    @property
    def labels_topic(self) -> str:
        """Where it is told which id is which class."""
        return f"{self.topic}/label_info"

    def message(self, values_hw: TaskMap, stamp: Stamp) -> Any:  # noqa: ANN401 - of rosbags' classes
        """Makes a sensor_msgs/Image: class ids as mono8; depth as 32FC1 in meters, as REP 118 has it."""
        if self.classes:
            return image_message(values_hw, "mono8", stamp)
        return image_message(np.asarray(values_hw * np.float32(self.meters), "<f4"), "32FC1", stamp)


def task_topics(topic: str, manifest: Manifest) -> tuple[TaskTopic, ...]:
    """Returns the topics of the further tasks of a network, below that of the main one.

    Args:
        topic: Of the main one, as in "/segmentation".
        manifest: The network's.

    Raises:
        ConfigError: Depth has a unit that is no length, or two tasks would have one topic.
    """
    topics = tuple(_topic(topic, output) for output in manifest.outputs[1:])
    names = [f"{topic}/label_info", *(each.topic for each in topics)]
    if len(set(names)) < len(names):
        tasks = ", ".join(each.task for each in topics)
        raise ConfigError(f"The tasks {tasks} would share a topic of ROS 2.", "Give them other names in the manifest.")
    return topics


def _topic(topic: str, output: OutputSpec) -> TaskTopic:
    name = f"{topic}/{_token(output.label)}"
    if output.depth is None:
        return TaskTopic(name, output.label, output.classes)
    meters = _METERS.get(output.depth.unit)
    if meters is None:
        raise ConfigError(
            f"Depth on ROS 2 is in meters, and {output.label} is in {output.depth.unit}.",
            f"Write its unit as one of {', '.join(_METERS)}, or leave this output out.",
        )
    return TaskTopic(name, output.label, (), meters)


def _token(task: str) -> str:
    """Returns a part of a topic's name: letters, digits, single underscores, no digit first.

    >>> _token("/head/lane:0"), _token("2d boxes")
    ('head_lane_0', 'task_2d_boxes')
    """
    token = re.sub(r"[^A-Za-z0-9]+", "_", task).strip("_") or "task"
    return f"task_{token}" if token[0].isdigit() else token
