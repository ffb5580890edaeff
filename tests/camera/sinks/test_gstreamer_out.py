"""Video out through GStreamer, watched by clients that are not ours."""

import shutil
import socket
import subprocess
import time
from threading import Event, Thread
from time import perf_counter

import cv2
import numpy as np
import pytest
from camera_fakes import MANIFEST

from jetseg.camera.contract import FrameResult, SinkContext, SourceFrame
from jetseg.camera.sinks.gstreamer.sink import GStreamerSink
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.stopping import StopFlag
from jetseg.errors import ConfigError, JetsegError, MissingDependencyError
from jetseg.monitor.events import EventLog


@pytest.fixture(autouse=True)
def _gstreamer():
    try:
        GStreamerSink("appsrc ! fakesink")
    except MissingDependencyError as error:
        pytest.skip(str(error))


def context(live=False):
    return SinkContext(MANIFEST, EventLog(), StopFlag(), live, 30.0, (180, 320))


def shown(number, size=(180, 320)):
    picture = np.full((*size, 3), (number * 2 % 200, 60, 90), np.uint8)
    return FrameResult(SourceFrame(number, "", perf_counter(), picture), picture[..., 0], perf_counter(), picture, None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.long
def test_ffmpeg_reads_a_hundred_frames_over_rtsp(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: apt-get install ffmpeg")
    port, ended = free_port(), Event()
    with open_sink(f"rtsp:127.0.0.1:{port}", context(live=True)) as sink:

        def feed():
            number = 0
            while not ended.wait(0.01):
                sink.write(shown(number))
                number += 1

        feeding = Thread(target=feed)
        feeding.start()
        try:
            url, until = f"rtsp://127.0.0.1:{port}/live", perf_counter() + 30
            command = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-frames:v", "100"]
            command += ["-fps_mode", "passthrough", "-f", "framemd5", "-"]
            while True:
                found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
                if found.returncode == 0 or perf_counter() > until:
                    break
                time.sleep(0.3)
        finally:
            ended.set()
            feeding.join()
    frames = [line for line in found.stdout.splitlines() if line and not line.startswith("#")]
    assert len(frames) == 100, found.stderr


def test_frames_go_through_a_pipeline_of_the_users(tmp_path):
    folder = str(tmp_path / "%03d.png")
    with open_sink(f"gstreamer:videoconvert ! pngenc ! multifilesink location={folder}", context()) as sink:
        for number in range(5):
            sink.write(shown(number))
            time.sleep(0.2 if not number else 0.02)
        sink.write(shown(5, (90, 160)))
        time.sleep(0.2)
    written = [cv2.imread(str(path)) for path in sorted(tmp_path.iterdir())]
    assert written, "some frames at least; a pipeline that is slow gets the newest ones"
    assert all(np.unique(picture.reshape(-1, 3), axis=0).shape == (1, 3) for picture in written)


@pytest.mark.parametrize("pipeline", ["appsrc ! nothing_of_that_name ! fakesink", "appsrc !", "videotestsrc ! appsrcx"])
def test_a_pipeline_that_cannot_be_made_is_refused_at_once(pipeline):
    with pytest.raises(ConfigError, match="GStreamer cannot make the pipeline"):
        GStreamerSink(pipeline)


def test_a_pipeline_that_fails_later_says_why(tmp_path):
    sink = GStreamerSink(f"videoconvert ! filesink location={tmp_path / 'none' / 'x'}")
    with pytest.raises(JetsegError, match="The pipeline ended: Could not open file"):
        for number in range(200):
            sink.write(shown(number))
            time.sleep(0.02)
    sink.reset()


def test_a_port_that_is_taken_is_refused():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="cannot use port"),
        open_sink(f"rtsp:{taken.getsockname()[1]}", context()),
    ):
        pass
    with pytest.raises(ConfigError, match="no port for RTSP"), open_sink("rtsp:x", context()):
        pass
