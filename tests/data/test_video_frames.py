"""Frames of a video as a dataset."""

import shutil
import struct
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import number_of as read_number
from video_files import picture, write_timed

from jetseg.camera.sources.opening import open_source
from jetseg.data.dataset import open_split
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow

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


def test_a_file_that_changes_in_use_is_named(tmp_path):
    path = tmp_path / "drive.ts"
    write_timed(path, STEADY)
    dataset = open_split(f"video:{path}", "all")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 188 * 2 // 3 * 188])
    with pytest.raises(DataError, match="was changed: frame 11 cannot be decoded"):
        dataset[11]
    assert read_number(dataset[3].image_hwc_u8) == 3


def numbers_and_times(path):
    """Reads a video as a dataset, in both orders, and as a source of the loop; all three must agree."""
    dataset = open_split(f"video:{path}", "all")
    samples = [dataset[index] for index in range(len(dataset))]
    for index in reversed(range(len(dataset))):
        assert np.array_equal(dataset[index].image_hwc_u8, samples[index].image_hwc_u8), index
    source, frames = open_source(str(path)), []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    assert [(frame.shown_at, frame.sequence) for frame in frames] == [
        (sample.shown_at, index) for index, sample in enumerate(samples)
    ]
    assert all(np.array_equal(one.image_hwc_u8, other.image_hwc_u8) for one, other in zip(frames, samples, strict=True))
    return [read_number(sample.image_hwc_u8) for sample in samples], [round(sample.shown_at, 4) for sample in samples]


STEADY = [round(0.04 * number, 4) for number in range(12)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_variable_rate_gives_every_frame_at_its_time(tmp_path, suffix):
    moments = [0.0, 0.1, 0.2, 0.25, 0.9, 1.5, 2.1]
    write_timed(tmp_path / f"drive.{suffix}", moments, starts_at=0.0 if suffix == "mp4" else 1.0)
    assert numbers_and_times(tmp_path / f"drive.{suffix}") == (list(range(7)), moments)


def test_joined_transport_streams_give_both_parts(tmp_path):
    for name, first, starts_at in (("a", 0, 100.0), ("b", 8, 3.0), ("c", 4, 5000.0)):
        write_timed(tmp_path / f"{name}.ts", STEADY[:8], first=first, starts_at=starts_at)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join((tmp_path / f"{name}.ts").read_bytes() for name in "abc"))
    numbers, times = numbers_and_times(joined)
    assert numbers == [*range(8), *range(8, 16), *range(4, 12)]
    assert times == [round(0.04 * number, 4) for number in range(24)]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cut_without_encoding_gives_what_is_left(tmp_path, suffix):
    write_timed(tmp_path / "whole.mp4", STEADY)
    command = ["ffmpeg", "-v", "error", "-ss", "0.28", "-i", "whole.mp4", "-c", "copy", f"cut.{suffix}"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
    numbers, times = numbers_and_times(tmp_path / f"cut.{suffix}")
    # an MP4 says from where on it is shown, and Matroska cannot: it begins at the key frame
    assert numbers[0] == 7 if suffix == "mp4" else 1 < numbers[0] < 7
    assert numbers == list(range(numbers[0], 12))
    assert times == STEADY[: len(numbers)]


def test_motion_jpeg_without_a_header_and_in_containers(tmp_path):
    content = b"".join(cv2.imencode(".jpg", picture(number))[1].tobytes() for number in range(12))
    (tmp_path / "raw.mjpeg").write_bytes(content)
    assert numbers_and_times(tmp_path / "raw.mjpeg") == (list(range(12)), STEADY)
    for suffix in ("avi", "mkv"):
        write_timed(tmp_path / f"drive.{suffix}", STEADY, codec="mjpeg")
        assert numbers_and_times(tmp_path / f"drive.{suffix}") == (list(range(12)), STEADY)


def test_transport_stream_cut_anywhere_begins_at_the_next_key_frame(tmp_path):
    write_timed(tmp_path / "whole.ts", STEADY, starts_at=1.0)
    content = (tmp_path / "whole.ts").read_bytes()
    packets = len(content) // 188
    (tmp_path / "cut.ts").write_bytes(content[packets // 3 * 188 :])
    numbers, times = numbers_and_times(tmp_path / "cut.ts")
    assert numbers == list(range(numbers[0], 12))
    assert 0 < numbers[0] < 12
    assert times == STEADY[: len(numbers)]


def test_damage_in_the_middle_costs_its_own_frames_only(tmp_path):
    write_timed(tmp_path / "whole.ts", STEADY, starts_at=1.0)
    content = bytearray((tmp_path / "whole.ts").read_bytes())
    middle = len(content) // 188 // 2 * 188
    content[middle : middle + 5 * 188] = b"\0" * (5 * 188)
    (tmp_path / "damaged.ts").write_bytes(bytes(content))
    numbers, times = numbers_and_times(tmp_path / "damaged.ts")
    assert (numbers[0], numbers[-1]) == (0, 11)
    assert 6 <= len(numbers) <= 12
    assert times == sorted(times)


def test_playlist_with_the_name_of_a_video_reads_no_other_file(tmp_path, drive):
    write_timed(tmp_path / "part.ts", STEADY)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "drive.mp4").write_text(playlist)
    with pytest.raises(DataError, match="is not a video"):
        open_split(f"video:{tmp_path / 'drive.mp4'}", "all")


@pytest.mark.parametrize("pixel_format", ["gray16le", "gray12le"])
def test_deep_gray_video_is_windowed_or_refused(tmp_path, pixel_format):
    path = tmp_path / "thermal.mkv"
    values = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixel_format
        container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format=pixel_format)))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=rf"{pixel_format}.* holds uint16 values, here 0 to 1535.*frames: {{low"):
        open_source(str(path))
    frame = open_source(str(path), window=FrameWindow(low=100, high=1124)).read()
    expected = np.rint((np.clip(values, 100.0, 1124.0) - 100) * 255 / 1024)
    assert np.array_equal(frame.image_hwc_u8, np.dstack([expected] * 3))


def test_video_that_is_turned_is_read_upright(tmp_path):
    path = tmp_path / "phone.mp4"
    write_timed(path, STEADY)
    content = path.read_bytes()
    place = content.index(b"tkhd") + 4 + 40  # version 0: the matrix stands after 40 bytes
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:place] + turned + content[place + 36 :])
    assert open_source(str(path)).size_hw == (48, 32)
    capture = cv2.VideoCapture(str(path))
    assert np.abs(capture.read()[1].astype(int) - open_split(f"video:{path}", "all")[0].image_hwc_u8).max() <= 2
