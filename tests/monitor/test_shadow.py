import threading
import time

import numpy as np
import pytest

from jetseg.manifest import Manifest
from jetseg.measured import Profile
from jetseg.monitor import shadow as shadow_module
from jetseg.monitor.shadow import ShadowMonitor, default_bound

MANIFEST = Manifest.model_validate({"classes": ["sky", "road"], "input": {"height": 8, "width": 8}})
IMAGE = np.zeros((8, 8, 3), np.uint8)
TRUTH = np.repeat(np.uint8([0, 1]), 4)[:, None].repeat(8, 1)
WRONG = 1 - TRUTH


def drive(shadow, answers):
    """Offers one answer after the other, each when the one before was compared; returns the notices."""
    notices = []
    for count, answer in enumerate(answers, start=shadow.state().compared + 1):
        notices += shadow.offer(IMAGE, answer)
        deadline = time.monotonic() + 10
        while shadow.state().compared < count and time.monotonic() < deadline:
            time.sleep(0.001)
    return notices + shadow.close()


def test_agreement_is_counted_per_class():
    shadow = ShadowMonitor(lambda _: TRUTH, MANIFEST, every=1)
    half = TRUTH.copy()
    half[0] = 1
    assert drive(shadow, [half] * 3) == []
    state = shadow.state()
    assert state.compared == 3
    assert state.per_class_iou == {"sky": 75.0, "road": 80.0}
    assert state.agreement_miou == pytest.approx(77.5)


def test_disagreement_is_noticed_and_so_is_its_end():
    shadow = ShadowMonitor(lambda _: TRUTH, MANIFEST, every=1, bound=80)
    notices = drive(shadow, [WRONG] * 6 + [TRUTH] * 20)
    assert [notice.kind for notice in notices] == ["shadow-disagreement", "shadow-disagreement-ended"]
    assert notices[0].severity == "alarm"
    assert notices[0].values["agreement_miou"] == 0
    assert not shadow.state().active
    assert shadow.state().alarms == 1


def test_one_bad_frame_is_no_alarm():
    shadow = ShadowMonitor(lambda _: TRUTH, MANIFEST, every=1, bound=70)
    assert drive(shadow, [*[TRUTH] * 8, WRONG, *[TRUTH] * 8]) == []


def test_only_every_nth_frame_is_compared_and_a_busy_reference_makes_none_wait():
    gate = threading.Event()

    def slow(_):
        gate.wait(10)
        return TRUTH

    shadow = ShadowMonitor(slow, MANIFEST, every=2)
    started = time.perf_counter()
    for _ in range(40):
        shadow.offer(IMAGE, TRUTH)
    assert time.perf_counter() - started < 1
    gate.set()
    shadow.close()
    state = shadow.state()
    assert state.skipped >= 18  # one under way, one waiting
    assert state.compared + state.skipped <= 20


def test_frames_are_copied_before_the_caller_reuses_them():
    gate = threading.Event()

    def reference(image):
        gate.wait(10)
        return TRUTH if image[0, 0, 0] == 7 else WRONG

    shadow = ShadowMonitor(reference, MANIFEST, every=1)
    image, answer = np.full_like(IMAGE, 7), TRUTH.copy()
    shadow.offer(image, answer)
    image[:], answer[:] = 0, WRONG
    gate.set()
    while not shadow.state().compared:
        time.sleep(0.001)
    shadow.close()
    assert shadow.state().agreement_miou == 100


def offer_until_noticed(shadow, seconds=10):
    notices, deadline = [], time.monotonic() + seconds
    while not notices and time.monotonic() < deadline:
        notices = shadow.offer(IMAGE, TRUTH)
        time.sleep(0.001)
    return notices


def test_a_reference_that_fails_is_told_once_and_so_is_its_return(monkeypatch):
    monkeypatch.setattr(shadow_module, "RETRY_SECONDS", 0.0)
    calls = []

    def broken_for_a_while(_):
        calls.append(None)
        if len(calls) < 4:
            raise RuntimeError("no memory")
        return TRUTH

    shadow = ShadowMonitor(broken_for_a_while, MANIFEST, every=1)
    failed, resumed = offer_until_noticed(shadow), offer_until_noticed(shadow)
    assert [notice.kind for notice in failed + resumed + shadow.close()] == ["shadow-failed", "shadow-resumed"]
    assert "no memory" in failed[0].text
    assert shadow.state().agreement_miou == 100
    assert not any(thread.name == "jetseg-shadow" for thread in threading.enumerate())


def test_a_reference_that_fails_rests():
    calls = []

    def broken(_):
        calls.append(None)
        raise RuntimeError("no memory")

    shadow = ShadowMonitor(broken, MANIFEST, every=1)
    offer_until_noticed(shadow)
    assert offer_until_noticed(shadow, seconds=0.2) == []
    assert len(calls) == 1
    shadow.close()
    assert shadow.state().skipped > 10


def test_a_reference_that_stalls_is_told_once_and_so_is_its_return(monkeypatch):
    monkeypatch.setattr(shadow_module, "STALL_SECONDS", 0.05)
    gate = threading.Event()
    shadow = ShadowMonitor(lambda _: gate.wait(20) and TRUTH, MANIFEST, every=1)
    assert [notice.kind for notice in offer_until_noticed(shadow)] == ["shadow-stalled"]
    assert offer_until_noticed(shadow, seconds=0.2) == []
    gate.set()
    assert [notice.kind for notice in offer_until_noticed(shadow) + shadow.close()] == ["shadow-resumed"]


def test_a_reference_that_never_comes_back_does_not_hold_the_end(monkeypatch):
    monkeypatch.setattr(shadow_module, "CLOSE_SECONDS", 0.1)
    begun, gate = threading.Event(), threading.Event()

    def hangs(_):
        begun.set()
        gate.wait(20)
        return TRUTH

    shadow = ShadowMonitor(hangs, MANIFEST, every=1)
    shadow.offer(IMAGE, TRUTH)
    assert begun.wait(5)
    shadow.offer(IMAGE, TRUTH)
    assert [notice.kind for notice in shadow.close()] == ["shadow-stuck"]
    gate.set()
    shadow._thread.join(5)
    assert not shadow._thread.is_alive()


@pytest.mark.parametrize(("agreement", "bound"), [(None, 70), (98.0, 78.0), (92.5, 72.5), (84.0, 70), (40.0, 70)])
def test_the_bound_is_learned_from_the_agreement_at_build(agreement, bound):
    profile = Profile(data="d", split="s", frames=8, quantiles={}, joint={}, class_percent={}, agreement_miou=agreement)
    assert default_bound(MANIFEST.model_copy(update={"profile": profile})) == pytest.approx(bound)
