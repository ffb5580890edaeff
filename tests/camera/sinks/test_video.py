import resource
import shutil
import sys
from collections import namedtuple
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from camera_fakes import ANY_SPEED
from video_files import write_timed

from jetseg.camera.contract import FrameResult, SourceFrame
from jetseg.camera.sinks.video import open_video_sink
from jetseg.camera.sinks.window import WindowSink
from jetseg.camera.sources.video_file import open_video
from jetseg.camera.stopping import StopFlag
from jetseg.errors import ConfigError, DeviceError, StorageError
from jetseg.monitor.statistics import LoopStatistics


def result(index, height=48, width=64):
    picture = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = SourceFrame(index, str(index), 0.0, picture)
    return FrameResult(frame, picture[..., 0], 0.0, picture, LoopStatistics(ANY_SPEED))


def record(path, count, **options):
    with open_video_sink(path, **options) as sink:
        for index in range(count):
            sink.write(result(index))


def write_until_it_breaks(sink, count):
    for index in range(count):
        sink.write(result(index))
    raise StopIteration


def video(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count, capture.get(cv2.CAP_PROP_FPS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_frame_is_in_the_video_and_nothing_else_in_the_folder(tmp_path):
    record(tmp_path / "out.mp4", 70, frames_per_second=20.0)
    assert video(tmp_path / "out.mp4") == (70, 20.0)
    assert names(tmp_path) == ["out.mp4"]


def times_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [round(frame.time, 4) for frame in container.decode(stream)]
        return times, round(float(stream.duration * stream.time_base), 4)


@pytest.mark.parametrize("live", [True, False])
def test_frames_keep_their_times_in_the_video(tmp_path, live):
    moments = [0.0, 0.1, 0.15, 1.0, 1.3]
    with open_video_sink(tmp_path / "out.mp4", 10.0, live=live) as sink:
        for index, moment in enumerate(moments):
            ready = result(index)
            times = {"captured_at": 77.0 + moment} if live else {"shown_at": 3.0 + moment, "shown_for": 0.5}
            sink.write(replace(ready, frame=replace(ready.frame, **times)))
    assert times_of(tmp_path / "out.mp4") == (moments, 1.4 if live else 1.8)


def test_video_of_variable_rate_lasts_as_long_as_its_overlay(tmp_path):
    moments = [0.0, 0.1, 0.2, 0.3, 0.9, 1.5, 2.1]
    write_timed(tmp_path / "in.mp4", moments, shown_for=0.3, between=0)
    assert times_of(tmp_path / "in.mp4") == (moments, 2.4)
    source = open_video(tmp_path / "in.mp4")
    with open_video_sink(tmp_path / "out.mp4", source.frames_per_second) as sink:
        while (frame := source.read()) is not None:
            sink.write(replace(result(0), frame=frame, overlay_hwc_u8=frame.image_hwc_u8))
    source.close()
    assert times_of(tmp_path / "out.mp4") == (moments, 2.4)


def test_frame_of_another_size_is_in_the_video_too(tmp_path):
    with open_video_sink(tmp_path / "out.mp4") as sink:
        for index in range(4):
            sink.write(result(index, *((48, 64) if index % 2 else (31, 77))))
    assert video(tmp_path / "out.mp4")[0] == 4


def test_failed_run_keeps_the_earlier_video_and_what_was_recorded(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"earlier")
    with pytest.raises(StopIteration), open_video_sink(tmp_path / "out.mp4") as sink:
        write_until_it_breaks(sink, 5)
    assert (tmp_path / "out.mp4").read_bytes() == b"earlier"
    assert video(tmp_path / "out.partial.mp4")[0] == 5
    assert names(tmp_path) == ["out.mp4", "out.partial.mp4"]


def test_run_without_a_frame_leaves_the_earlier_video(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"earlier")
    record(tmp_path / "out.mp4", 0)
    assert (tmp_path / "out.mp4").read_bytes() == b"earlier"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes works like this on Linux")
def test_write_that_the_system_refuses_is_found_at_the_end(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"earlier")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        with pytest.raises(StorageError, match=r"out\.mp4 could not be written: "):
            record(tmp_path / "out.mp4", 60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "out.mp4").read_bytes() == b"earlier"
    assert names(tmp_path) == ["out.mp4"]


def test_full_disk_ends_the_run_while_it_goes_on(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    free = iter([10**9] * 3 + [1000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(next(free)))
    with pytest.raises(StorageError, match="no space is left"):
        record(tmp_path / "out.mp4", 1000)
    assert names(tmp_path) == []


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"out\.mp4 could not be written"):
        record(tmp_path / "file" / "out.mp4", 1)


def test_other_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.mp4"):
        record(tmp_path / "out.avi", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="displays are found by environment variables on Linux")
def test_window_without_a_display_says_what_to_do(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="`output`"):
        WindowSink("jetseg", StopFlag())


def test_window_in_a_headless_build_says_what_to_do(monkeypatch):
    def refuse(*arguments):
        raise cv2.error("not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(DeviceError, match="opencv-python,"):
        WindowSink("jetseg", StopFlag())
