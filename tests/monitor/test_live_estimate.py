import numpy as np
import pytest
from camera_fakes import MANIFEST
from known_windows import known_estimator

from jetseg.evaluation.evidence import frame_evidence
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.monitor.live_estimate import LiveEstimate

ACCURACY = Accuracy(data="d", split="s", frames=9, miou=60.0, pixel_accuracy=None, per_class_iou={})
IDS = np.repeat(np.array([0, 1, 2], np.uint8), 8)[:, None].repeat(32, axis=1)


def scores(confidence: float) -> np.ndarray:
    """Gives each of the three classes a third of the pixels, with this probability."""
    found = np.full((3, 300), np.log((1 - confidence) / 2), np.float32)
    found[np.arange(300) // 100, np.arange(300)] = np.log(confidence)
    return found


def evidence(found: np.ndarray | None):
    return frame_evidence(IDS, found, 3)


@pytest.fixture
def live():
    return LiveEstimate(known_estimator(normal=anywhere()), MANIFEST.changed(accuracy=(ACCURACY,)))


def anywhere():
    """Returns a record of surroundings among which every frame is normal."""
    normal = known_estimator().normal
    return normal.model_copy(update={"std": tuple(1e6 for _ in normal.std)})


def feed(live, confidence, windows):
    notices = []
    for _ in range(30 * windows):
        notices += live.add(evidence(scores(confidence)))
    return [notice.kind for notice in notices]


def test_a_window_of_thirty_frames_gives_one_estimate(live):
    assert live.state().newest is None
    assert feed(live, 0.9, windows=2) == []
    first, second = live.windows
    assert (first.window, first.last_frame, second.window, second.last_frame) == (1, 30, 2, 60)
    assert first.low < first.miou < first.high
    assert set(first.per_class_iou) == {"blue", "green", "red"}
    state = live.state().as_dict()
    assert (state["window"], state["miou"], state["bound"], state["active"]) == (2, second.miou, 45.0, False)


def test_less_confidence_means_less_accuracy(live):
    feed(live, 0.95, windows=1)
    feed(live, 0.6, windows=1)
    sure, doubtful = live.windows
    assert sure.miou > doubtful.miou + 20


def test_the_alarm_comes_when_even_the_upper_end_is_below_the_bound_twice_and_ends(live):
    assert feed(live, 0.45, windows=1) == []
    assert live.windows[-1].high < 45
    assert feed(live, 0.45, windows=1) == ["estimate-low"]
    assert live.state().active
    assert feed(live, 0.95, windows=2) == ["estimate-low-ended"]
    assert (live.state().active, live.state().alarms) == (False, 1)


def test_the_bound_is_three_quarters_of_the_accuracy_at_build_or_given_or_unknown():
    def bound_of(**options):
        manifest = options.pop("manifest", MANIFEST.changed(accuracy=(ACCURACY,)))
        return LiveEstimate(known_estimator(), manifest, **options).state().bound

    assert bound_of() == 45.0
    assert bound_of(bound=58.0) == 58.0
    assert bound_of(manifest=MANIFEST) is None


@pytest.mark.parametrize("missing", [None, np.full((3, 300), np.nan, np.float32)])
def test_frames_without_scores_are_left_out_and_five_begin_the_window_anew(live, missing):
    for found in (*[scores(0.9)] * 29, *[missing] * 4, scores(0.9)):
        live.add(evidence(found))
    assert live.windows[0].last_frame == 34
    for found in (*[scores(0.9)] * 29, *[missing] * 5, *[scores(0.9)] * 29):
        live.add(evidence(found))
    assert len(live.windows) == 1
    live.add(evidence(scores(0.9)))
    assert live.windows[1].last_frame == 34 + 29 + 5 + 30


def test_against_the_parent_network_the_bound_is_that_of_the_shadow():
    found = LiveEstimate(known_estimator(target="agreement"), Manifest.model_validate(MANIFEST.model_dump()))
    assert (found.state().bound, found.state().target) == (70.0, "agreement")
