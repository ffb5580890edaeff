"""Glass to mask, with a camera that films the clock."""

import time
from time import perf_counter

import cv2
import numpy as np
import pytest
from camera_fakes import FakeRunner, FakeSource

from jetseg.camera.contract import SourceFrame
from jetseg.camera.qr_clock import clock_picture, read_clock
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError, QualityError
from jetseg.workflows.latency_testing import measure_glass_to_mask

DELAY = 0.12
"""Between the clock and the camera's handing the frame over."""


class FilmedClock(FakeSource):
    """A camera that sees the clock at an angle, some time ago."""

    def read(self):
        frame = super().read()
        clock = clock_picture(round((time.time() - DELAY) * 1e3), 8)
        height, width = clock.shape
        corners = np.float32([[60, 40], [300, 55], [50, 290], [310, 270]])
        warp = cv2.getPerspectiveTransform(np.float32([[0, 0], [width, 0], [0, height], [width, height]]), corners)
        filmed = cv2.warpPerspective(clock, warp, (400, 320), borderValue=255)
        filmed = cv2.GaussianBlur(filmed // 2 + 60, (3, 3), 0)
        image = cv2.cvtColor(filmed, cv2.COLOR_GRAY2BGR)
        return SourceFrame(frame.sequence, frame.name, perf_counter(), image)


@pytest.mark.long
def test_glass_to_mask_holds_what_the_frame_age_lacks():
    found = measure_glass_to_mask(
        Engine(FakeRunner(0.01)), source=FilmedClock(None, live=True, delay=0.03), seconds=1.5, window=False
    )
    assert len(found.glass_to_mask_ms) > 3
    assert found.unseen_ms == pytest.approx(1e3 * DELAY, abs=20)
    assert found.glass_to_mask.p50 > 1e3 * DELAY + 10
    assert found.frame_age_since == "arrival"


def test_no_clock_in_sight_is_said():
    with pytest.raises(QualityError, match="None of 5 frames showed a clock"):
        measure_glass_to_mask(Engine(FakeRunner()), source=FakeSource(5), seconds=2, window=False)


def test_the_clock_is_not_shown_on_after_a_loop_that_could_not_begin(monkeypatch):
    def show_clock(stop):
        until = perf_counter() + 2
        while not stop.requested and perf_counter() < until:
            time.sleep(0.01)
        assert stop.requested

    def fail(*args, **options):
        raise ConfigError("The main output is depth.")

    monkeypatch.setattr("jetseg.workflows.latency_testing.show_clock", show_clock)
    monkeypatch.setattr("jetseg.workflows.drive.run_loop", fail)
    with pytest.raises(ConfigError, match="main output is depth"):
        measure_glass_to_mask(Engine(FakeRunner()), source=FakeSource(5))


@pytest.mark.parametrize("picture", [np.zeros((1, 1, 3), np.uint8), np.full((90, 120, 3), 200, np.uint8)])
def test_what_is_no_clock_is_none(picture):
    assert read_clock(picture) is None


def test_another_code_is_no_clock():
    code = cv2.QRCodeEncoder.create().encode("https://example.org")
    picture = cv2.resize(code, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    assert read_clock(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)) is None
