"""Pictures in messages: every encoding by its pixels; wrong sizes, encodings and bytes by their reason."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags (extra `ros2`) is not installed")

from jetseg.errors import DataError, JetsegError
from jetseg.input_spec import FrameWindow
from jetseg.ros.images import read_picture
from jetseg.ros.message_types import COMPRESSED_IMAGE, IMAGE, LABEL_INFO, from_cdr, make, to_cdr
from jetseg.ros.messages import compressed_message, diagnostics_message, image_message, label_info_message
from jetseg.ros.stamp import Stamp

STAMP = Stamp(1_700_000_000_123_456_789, "front")
RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


def image(data, encoding, height, width, step=None, big=0):
    empty = image_message(np.zeros((1, 1), np.uint8), "mono8", STAMP)
    content = np.frombuffer(bytes(data), np.uint8)
    step = len(content) // height if step is None else step
    return to_cdr(
        make(
            IMAGE,
            header=empty.header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=big,
            step=step,
            data=content,
        )
    )


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("rgb8", [255, 0, 0, 0, 255, 0], [RED, GREEN]),
        ("bgr8", [255, 0, 0, 0, 255, 0], [BLUE, GREEN]),
        ("rgba8", [255, 0, 0, 9, 0, 255, 0, 9], [RED, GREEN]),
        ("bgra8", [255, 0, 0, 9, 0, 255, 0, 9], [BLUE, GREEN]),
        ("mono8", [7, 200], [(7, 7, 7), (200, 200, 200)]),
    ],
)
def test_each_color_lies_where_it_should(encoding, data, expected):
    picture = read_picture(image(data, encoding, 1, 2), IMAGE)
    assert picture.image_hwc_u8.tolist() == [[list(pixel) for pixel in expected]]
    assert picture.stamp == STAMP


@pytest.mark.parametrize(
    ("encoding", "corner"),
    [("bayer_rggb8", RED), ("bayer_bggr8", BLUE), ("bayer_gbrg8", GREEN), ("bayer_grbg8", GREEN)],
)
@pytest.mark.parametrize("color", [RED, GREEN, BLUE])
def test_a_bayer_pattern_of_one_color_is_that_color(encoding, corner, color):
    letters = {"r": 2, "g": 1, "b": 0}
    pattern = encoding.removeprefix("bayer_")[:4]
    mosaic = np.tile(np.array([color[letters[letter]] for letter in pattern], np.uint8).reshape(2, 2), (4, 4))
    found = read_picture(image(mosaic, encoding, 8, 8), IMAGE).image_hwc_u8
    assert found[2:-2, 2:-2].reshape(-1, 3).tolist() == [list(color)] * 16


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_a_picture_of_two_colors_in_yuv(encoding):
    wanted = np.zeros((4, 8, 3), np.uint8)
    wanted[:, :4], wanted[:, 4:] = (30, 60, 200), (180, 90, 20)
    planes = cv2.cvtColor(wanted, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    luma, first, second = planes[:32].reshape(4, 8), planes[32:40].reshape(2, 4), planes[40:].reshape(2, 4)
    if encoding in ("nv12", "nv21"):
        pair = (first, second) if encoding == "nv12" else (second, first)
        data, step = np.concatenate([luma.ravel(), np.stack(pair, -1).ravel()]), 8
    else:
        chroma = np.stack([first.repeat(2, 0), second.repeat(2, 0)], -1).reshape(4, 8)
        order = (chroma, luma) if encoding in ("yuv422", "uyvy") else (luma, chroma)
        data, step = np.stack(order, -1).ravel(), 16
    found = read_picture(image(data, encoding, 4, 8, step), IMAGE).image_hwc_u8
    assert np.abs(found.astype(int) - wanted).max() <= 6


@pytest.mark.parametrize("big", [0, 1])
def test_sixteen_bits_need_a_window(big):
    values = np.array([[0, 1000, 4095]], ">u2" if big else "<u2")
    content = image(values.tobytes(), "mono16", 1, 3, big=big)
    with pytest.raises(DataError, match="holds uint16 values"):
        read_picture(content, IMAGE)
    window = FrameWindow(low=0, high=2000)
    assert read_picture(content, IMAGE, window).image_hwc_u8[0, :, 0].tolist() == [0, 128, 255]


def test_rows_may_be_padded():
    data = [1, 2, 99, 99, 3, 4, 99, 99]
    assert read_picture(image(data, "mono8", 2, 2, 4), IMAGE).image_hwc_u8[..., 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (image([0] * 6, "rgb8", 2, 2, 3), "rows of 3 bytes and 6 bytes in all; 6 and 6 were expected"),
        (image([0] * 11, "rgb8", 2, 2, 6), "11 bytes in all; 6 and 12 were expected"),
        (image([0] * 13, "rgb8", 2, 2, 6), "13 bytes in all"),
        (image([0] * 6, "mono16", 2, 1, 3), "rows of 3 bytes"),
        (image([], "mono8", 0, 4, 4), "4x0 pixels .mono8. cannot be"),
        (image([0] * 9, "nv12", 3, 3, 3), "cannot be"),
        (image([0], "mono8", 2**31, 2**31, 1), "cannot be"),
        (image([0] * 4, "rgb12", 2, 2), "the encoding 'rgb12', which is not known"),
        (b"", "no sensor_msgs/msg/Image"),
        (image([0] * 4, "mono8", 2, 2)[:-2], "no sensor_msgs/msg/Image"),
        (b"\0\1\0\0" + b"\xff" * 80, "no sensor_msgs/msg/Image"),
    ],
)
def test_what_is_wrong_is_named(content, reason):
    with pytest.raises(DataError, match=reason):
        read_picture(content, IMAGE)


@pytest.mark.parametrize("lossless", [True, False])
def test_a_compressed_picture_comes_back(lossless):
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    found = read_picture(to_cdr(compressed_message(picture, STAMP, lossless=lossless)), COMPRESSED_IMAGE)
    assert found.stamp == STAMP
    assert np.abs(found.image_hwc_u8.astype(int) - picture).max() <= (0 if lossless else 40)


def test_a_compressed_bomb_is_refused_before_it_is_decoded():
    message = compressed_message(np.zeros((4, 4, 3), np.uint8), STAMP, lossless=True)
    header = bytearray(bytes(message.data))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    message.data = np.frombuffer(bytes(header), np.uint8)
    with pytest.raises(DataError, match="60000x60000 pixels, more than 100 million"):
        read_picture(to_cdr(message), COMPRESSED_IMAGE)


def test_messages_are_those_of_rosbags_own_definitions():
    from rosbags.typesys import Stores, get_typestore

    jazzy = get_typestore(Stores.ROS2_JAZZY)
    values = {"fps": 30.0, "engine": "a"}
    for message in (
        image_message(np.arange(12, dtype=np.uint8).reshape(3, 4), "mono8", STAMP),
        image_message(np.ones((3, 4), np.float32), "32FC1", STAMP),
        compressed_message(np.zeros((4, 4, 3), np.uint8), STAMP),
        diagnostics_message("jetseg", "warning", "late", values, STAMP),
    ):
        name, content = message.__msgtype__, to_cdr(message)
        read = jazzy.deserialize_cdr(content, name)
        assert (read.header.stamp.sec, read.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
        assert bytes(jazzy.serialize_cdr(read, name)) == content


def test_label_info_names_the_classes():
    found = from_cdr(to_cdr(label_info_message(["sky", "road"], STAMP)), LABEL_INFO)
    assert [(entry.class_id, entry.class_name) for entry in found.class_map] == [(0, "sky"), (1, "road")]


@pytest.mark.fuzz
def test_bytes_of_anyone_give_a_picture_or_a_reason(trials):
    whole = [
        (image(range(48), "rgb8", 4, 4), IMAGE),
        (image(range(24), "nv12", 4, 4, 4), IMAGE),
        (to_cdr(compressed_message(np.zeros((8, 8, 3), np.uint8), STAMP)), COMPRESSED_IMAGE),
        (to_cdr(compressed_message(np.zeros((8, 8, 3), np.uint8), STAMP, lossless=True)), COMPRESSED_IMAGE),
    ]
    for draw in trials(400):
        content, kind = draw.choice(whole)
        changed = bytearray(content[: draw.randint(0, len(content))] if draw.random() < 0.3 else content)
        for _ in range(draw.randint(0, 6) if changed else 0):
            changed[draw.randrange(len(changed))] = draw.choice([0, 1, 255, draw.randrange(256)])
        try:
            picture = read_picture(bytes(changed), kind)
        except JetsegError:
            continue
        assert picture.image_hwc_u8.dtype == np.uint8
        assert picture.image_hwc_u8.shape[2:] == (3,)
