import subprocess

import pytest

from jetseg.camera.sources import gstreamer
from jetseg.camera.sources.capture import public_name
from jetseg.camera.sources.gstreamer import (
    CsiCamera,
    csi_pipeline,
    has_gstreamer,
    has_hardware_decoder,
    parse_csi,
    stream_pipeline,
)
from jetseg.camera.sources.open import open_source
from jetseg.errors import ConfigError, DeviceError


def elements(pipeline):
    return [part.strip().split()[0] for part in pipeline.split(" ! ")]


def test_csi_pipeline_keeps_only_the_newest_frame():
    pipeline = csi_pipeline(CsiCamera(1, width=1920, height=1080, fps=60))
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=1920, height=1080, ")
    assert "framerate=60/1" in pipeline
    assert "queue leaky=downstream max-size-buffers=1" in pipeline
    assert pipeline.endswith("format=BGR ! appsink max-buffers=1 drop=true sync=false")
    assert "nvvidconv" in elements(pipeline)


def test_stream_pipeline_decodes_on_the_device():
    pipeline = stream_pipeline("rtsp://admin:pass@10.0.0.7/front?channel=1&subtype=0")
    assert elements(pipeline)[:3] == ["rtspsrc", "parsebin", "nvv4l2decoder"]
    assert 'location="rtsp://admin:pass@10.0.0.7/front?channel=1&subtype=0"' in pipeline
    assert pipeline.endswith("appsink max-buffers=1 drop=true sync=false")


@pytest.mark.parametrize("url", ['rtsp://x/" ! filesink location=/etc/passwd', "rtsp://x/\\", "rtsp://x/\n"])
def test_an_address_cannot_become_part_of_the_pipeline(url):
    with pytest.raises(ConfigError, match="quotation mark"):
        stream_pipeline(url)


def test_csi_spec():
    assert parse_csi("csi:0") == CsiCamera(0, 1280, 720, 30)
    assert parse_csi("csi:2?width=640&height=480&fps=15") == CsiCamera(2, 640, 480, 15)


@pytest.mark.parametrize(
    "spec", ["csi:", "csi:a", "csi:0?depth=3", "csi:0?width=-1", "csi:0?fps=", "csi:0?fps=0", "csi:0x"]
)
def test_other_csi_specs_are_refused(spec):
    with pytest.raises(ConfigError, match="is not a CSI camera"):
        open_source(spec)


def test_csi_without_gstreamer_says_what_is_missing(monkeypatch):
    monkeypatch.setattr("jetseg.camera.sources.capture.has_gstreamer", lambda: False)
    with pytest.raises(DeviceError, match="csi:0 needs an OpenCV with GStreamer"):
        open_source("csi:0")


def test_gstreamer_is_read_off_the_build():
    assert has_gstreamer("  Video I/O:\n    GStreamer:                   YES (1.20.3)\n")
    assert not has_gstreamer("    GStreamer:                   NO\n")


@pytest.mark.parametrize(
    ("tool", "opencv", "code", "expected"),
    [
        ("gst-inspect-1.0", True, 0, True),
        ("gst-inspect-1.0", True, 1, False),
        ("gst-inspect-1.0", False, 0, False),
        (None, True, 0, False),
    ],
)
def test_hardware_decoder_needs_the_element_and_opencv(monkeypatch, tool, opencv, code, expected):
    monkeypatch.setattr(gstreamer.shutil, "which", lambda name: tool)
    monkeypatch.setattr(gstreamer, "has_gstreamer", lambda: opencv)
    asked = []

    def run(command, **settings):
        asked.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(gstreamer.subprocess, "run", run)
    assert has_hardware_decoder() is expected
    assert asked in ([], [["gst-inspect-1.0", "--exists", "nvv4l2decoder"]])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:secret@10.0.0.7/front", "rtsp://10.0.0.7/front"),
        ("http://10.0.0.7/a@b", "http://10.0.0.7/a@b"),
        ("udp://@239.0.0.1:5000", "udp://239.0.0.1:5000"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert public_name(url) == shown


def test_the_error_of_a_stream_shows_no_password():
    with pytest.raises(DeviceError) as caught:
        open_source("rtsp://admin:secret@127.0.0.1:9/front")
    assert "secret" not in str(caught.value)
