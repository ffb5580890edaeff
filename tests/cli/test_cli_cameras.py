"""Several cameras, the ring's header and the latency test on the command line."""

import json
import shutil
import subprocess
import time

import cv2
import numpy as np
import pytest
from color_network import write_color_network

from jetseg.camera.qr_clock import clock_picture
from jetseg.camera.sinks.ring import c_header


@pytest.fixture
def network(tmp_path):
    return write_color_network(tmp_path)


@pytest.mark.long
def test_several_sources_are_one_run(network, jetseg, tmp_path):
    sources = ["--source", "front=synthetic:4", "--source", "synthetic:3"]
    code, out, err = jetseg("run", network, *sources, "--threads", 1, "--json", "--class-maps", tmp_path / "maps")
    assert code == 0
    found = json.loads(out)
    assert found["frames"] == 7
    assert {name: camera["frames"] for name, camera in found["cameras"].items()} == {"front": 4, "camera2": 3}
    assert found["cameras"]["front"]["frame_age_since"] == "reading"
    assert "Running on front (synthetic:4), camera2 (synthetic:3)" in err
    assert len(list((tmp_path / "maps" / "front").iterdir())) == 4
    code, out, _ = jetseg("run", network, *sources, "--threads", 1)
    assert code == 0
    assert "== front ==" in out
    assert "all 2 cameras: " in out


def test_a_camera_that_failed_is_in_the_exit_code_after_the_summary(network, jetseg, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), np.zeros((24, 32, 3), np.uint8))
    (folder / "2.png").write_bytes(b"no picture")
    sources = ["--source", "good=synthetic:4", "--source", f"bad={folder}"]
    code, out, err = jetseg("run", network, *sources, "--threads", 1)
    assert code == 2
    assert "4 of 4 frames from synthetic:4" in out
    assert "camera-failed: bad: It ended, and the others go on" in " ".join(err.split())
    assert "2.png" in err


def test_what_cannot_be_several_is_said(network, jetseg):
    sources = ["--source", "synthetic:1", "--source", "synthetic:2", "--threads", 1]
    for arguments, words in (
        (["--show"], "A window shows one camera"),
        (["--sink", "ring:maps"], "Write {camera} into its place"),
        (["--source", "camera1=0"], "Two sources are called camera1"),
    ):
        code, _, err = jetseg("run", network, *sources, *arguments)
        assert code == 2
        assert words in " ".join(err.split())


def test_the_header_of_the_ring_is_printed(jetseg):
    code, out, _ = jetseg("ring-header")
    assert (code, out) == (0, c_header())


def test_a_latency_test_without_a_clock_in_sight_fails_and_says_what_to_do(network, jetseg):
    code, _, err = jetseg("latency-test", network, "--source", "synthetic:3", "--no-window", "--threads", 1)
    assert code == 1
    assert "Point the camera at the clock" in " ".join(err.split())


@pytest.mark.long
def test_a_latency_test_tells_glass_to_mask(network, jetseg, tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: apt-get install ffmpeg")
    clock = clock_picture(time.time_ns() // 10**6, 6)
    picture = cv2.copyMakeBorder(clock, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255)
    cv2.imwrite(str(tmp_path / "clock.png"), picture)
    video = tmp_path / "clock.mp4"
    command = ["ffmpeg", "-v", "error", "-loop", "1", "-i", tmp_path / "clock.png", "-t", "1", "-r", "20"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-vf", "scale=240:240", video], check=True)
    code, out, _ = jetseg("latency-test", network, "--source", video, "--no-window", "--threads", 1, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["frames_read"] > 0
    assert found["glass_to_mask_ms"]["p50"] > found["frame_age_ms"]["p50"]
    code, out, _ = jetseg("latency-test", network, "--source", video, "--no-window", "--threads", 1)
    assert code == 0
    assert "glass to mask: " in out
    assert "#" in out
