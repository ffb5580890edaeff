import subprocess

import pytest

from jetseg.camera.sources.live import gstreamer
from jetseg.camera.sources.live.gstreamer import has_gstreamer, has_hardware_decoder


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
