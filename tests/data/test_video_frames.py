"""Frames of a video as a dataset."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from jetseg.data.dataset import open_split
from jetseg.errors import DataError

LENGTH = 20


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A video whose frames get brighter one by one; only the first is a key frame."""
    path = tmp_path / "my drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (48, 32))
    for number in range(LENGTH):
        writer.write(np.full((32, 48, 3), 10 * number, dtype=np.uint8))
    writer.release()
    return path


def number_of(sample) -> int:
    assert sample.label_hw_u8 is None
    return round(float(sample.image_hwc_u8.mean()) / 10)


@pytest.mark.parametrize(("split", "numbers"), [("all", range(20)), ("train", range(16)), ("val", range(16, 20))])
def test_splits_are_the_beginning_and_the_end(drive, split, numbers):
    dataset = open_split(f"video:{drive}", split)
    assert [number_of(dataset[index]) for index in range(len(dataset))] == list(numbers)
    assert dataset[0].name == f"my drive_{numbers[0]:06d}"


def test_frames_come_in_any_order(drive):
    dataset = open_split(f"video:{drive}", "all")
    for index in (13, 2, 2, 19, 0, 7):
        assert number_of(dataset[index]) == index
    with pytest.raises(IndexError):
        dataset[LENGTH]


def test_what_is_no_video_is_refused(tmp_path, drive):
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(DataError, match="is not a video"):
        open_split(f"video:{text}", "all")
    with pytest.raises(DataError, match="does not exist"):
        open_split(f"video:{tmp_path / 'missing.mp4'}", "all")
    with pytest.raises(DataError, match="no split 'test'; there are: all, train, val"):
        open_split(f"video:{drive}", "test")


def test_a_frame_that_cannot_be_decoded_is_named(drive):
    dataset = open_split(f"video:{drive}", "all")
    dataset._length = LENGTH + 5  # as a truncated file promises
    with pytest.raises(DataError, match="frame 22 cannot be decoded"):
        dataset[22]
    assert number_of(dataset[3]) == 3
