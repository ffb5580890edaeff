"""The ROS 2 messages that jetseg reads and writes, as rosbags turns them into bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jetseg.errors import DataError, import_optional

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
CLOCK = "rosgraph_msgs/msg/Clock"
PICTURES = (IMAGE, COMPRESSED_IMAGE)
MOST_MESSAGE_BYTES = 512 << 20
"""The most that a message may have."""

_DEFINITIONS = {
    "builtin_interfaces/msg/Time": "int32 sec\nuint32 nanosec\n",
    "std_msgs/msg/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    IMAGE: "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
    "uint8[] data\n",
    COMPRESSED_IMAGE: "std_msgs/Header header\nstring format\nuint8[] data\n",
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    LABEL_INFO: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
    "diagnostic_msgs/msg/KeyValue": "string key\nstring value\n",
    "diagnostic_msgs/msg/DiagnosticStatus": "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\nbyte level\n"
    "string name\nstring message\nstring hardware_id\ndiagnostic_msgs/KeyValue[] values\n",
    DIAGNOSTICS: "std_msgs/Header header\ndiagnostic_msgs/DiagnosticStatus[] status\n",
    CLOCK: "builtin_interfaces/Time clock\n",
}


def make(message_type: str, **fields: Any) -> Any:  # noqa: ANN401 - a message is a class that rosbags makes
    """Makes a message, or a part of one.

    Raises:
        MissingDependencyError: rosbags is not installed.
    """
    return _store().types[message_type](**fields)


def to_cdr(message: Any) -> bytes:  # noqa: ANN401
    """Turns a message into bytes: CDR in this machine's byte order, after four bytes that tell it."""
    return bytes(_store().serialize_cdr(message, message.__msgtype__))


def from_cdr(content: bytes | memoryview, message_type: str) -> Any:  # noqa: ANN401
    """Turns bytes into a message; long arrays of it are views of the bytes.

    Raises:
        DataError: They are not such a message; nothing was allocated for what they only claim to hold.
        MissingDependencyError: rosbags is not installed.
    """
    if len(content) > MOST_MESSAGE_BYTES:
        raise DataError(f"A message has {len(content)} bytes, more than {MOST_MESSAGE_BYTES >> 20} MiB.")
    store = _store()
    try:
        return store.deserialize_cdr(content, message_type)
    except Exception as error:  # a code that is generated, on bytes that anyone may have sent
        raise DataError(f"{len(content)} bytes are no {message_type}: {error}") from error


@lru_cache(maxsize=16)
def type_hash(message_type: str) -> str:
    """Returns the hash by which ROS 2 tells versions of a message apart (REP 2011).

    >>> type_hash("sensor_msgs/msg/Image")[:14]
    'RIHS01_d31d41a'
    """
    return str(_store().hash_rihs01(message_type))


@lru_cache(maxsize=16)
def definition(message_type: str) -> str:
    """Returns a message's definition with those of its parts, as MCAP keeps it beside the messages ("ros2msg")."""
    waiting = [message_type]
    for name in waiting:
        waiting.extend(part.kind for part in fields_of(name) if part.is_message and part.kind not in waiting)
    parts = [f"MSG: {name.replace('/msg/', '/')}\n{_DEFINITIONS[name]}" for name in waiting[1:]]
    return f"\n{'=' * 80}\n".join([_DEFINITIONS[message_type], *parts])


@dataclass(frozen=True)
class Field:
    """A field of a message: its name, its type, and whether it is a sequence of that, and a message itself."""

    name: str
    kind: str
    is_sequence: bool
    is_message: bool


def fields_of(message_type: str) -> list[Field]:
    """Returns the fields of a message, in their order."""
    found = []
    for line in _DEFINITIONS[message_type].splitlines():
        kind, name = line.split()
        if "=" in name:
            continue  # a constant
        package, slash, short = kind.removesuffix("[]").partition("/")
        whole = f"{package}/msg/{short}" if slash else package
        found.append(Field(name, whole, kind.endswith("[]"), bool(slash)))
    return found


def dds_name(message_type: str) -> str:
    """Returns a message's name as it stands on a bus.

    >>> dds_name("sensor_msgs/msg/Image")
    'sensor_msgs::msg::dds_::Image_'
    """
    package, _, name = message_type.split("/")
    return f"{package}::msg::dds_::{name}_"


@lru_cache(maxsize=1)
def _store() -> Any:  # noqa: ANN401 - rosbags is optional
    typesys = import_optional("rosbags.typesys", "rosbags", "ros2", "reads and writes ROS 2 messages")
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    store.max_sequence_length = MOST_MESSAGE_BYTES
    for name, text in _DEFINITIONS.items():
        store.register(typesys.get_types_from_msg(text, name))
    return store
