from dataclasses import replace

import numpy as np
import pytest
from known_windows import CLASSES, known_estimator, known_window

from jetseg.errors import ManifestError
from jetseg.evaluation.estimator import EstimatingModel
from jetseg.evaluation.estimator_fit import fit_estimator
from jetseg.evaluation.evidence import frame_evidence, joined
from jetseg.evaluation.temperature import fit_temperature
from jetseg.measured import Estimator


@pytest.fixture(scope="module")
def model():
    return EstimatingModel(known_estimator(), CLASSES)


def test_windows_that_were_not_seen_are_estimated_and_lie_within_the_bounds(model):
    rng = np.random.default_rng(7)
    errors, inside = [], []
    for right in np.linspace(0.45, 0.9, 60):
        window = known_window("other", right, rng)
        found = model.estimate(window.evidence).miou
        errors.append(abs(found.value - window.score.miou))
        inside.append(found.low <= window.score.miou <= found.high)
    assert np.mean(errors) < 2
    assert np.mean(inside) > 0.7  # nine of ten, learned from sixty windows


def test_each_class_is_estimated_by_itself(model):
    window = known_window("other", 0.8, np.random.default_rng(3))
    found = model.estimate(window.evidence).per_class_iou
    assert set(found) == set(CLASSES)
    for name, interval in found.items():
        assert interval.low < interval.value < interval.high
        assert interval.value == pytest.approx(window.score.per_class_iou[name], abs=6)


def test_a_class_that_is_not_there_has_no_estimate(model):
    evidence = known_window("other", 0.8, np.random.default_rng(3)).evidence
    for values in (evidence.pixels, evidence.edges, evidence.sure, evidence.mass, evidence.doubtful):
        values[1] = 0.0
    found = model.estimate(evidence).per_class_iou
    assert found["green"] is None
    assert found["red"] is not None


def test_far_from_what_was_seen_the_interval_is_wider(model):
    near, far = (known_window("x", 0.7, np.random.default_rng(5), void) for void in (0.0, 0.3))
    near, far = model.estimate(near.evidence), model.estimate(far.evidence)
    assert far.distance > 3 * near.distance
    assert far.miou.high - far.miou.low > 1.2 * (near.miou.high - near.miou.low)
    assert 0 <= far.miou.low <= far.miou.value <= far.miou.high <= 100


def test_the_estimator_survives_json():
    fitted = known_estimator()
    assert Estimator.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize(
    "broken",
    [
        {"miou": {"intercept": 0.0, "slopes": (1.0,)}},
        {"classes": {"blue": {"intercept": 0.0, "slopes": (1.0,)}}, "class_error": {"blue": 1.0}},
        {"class_error": {}},
        {"normal": {"mean": (0.0,), "std": (1.0,), "correlation": ((1.0,),)}},
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(broken):
    content = {**known_estimator().model_dump(), **broken}
    with pytest.raises(ManifestError, match="do not fit together"):
        EstimatingModel(Estimator.model_validate(content), CLASSES)


def test_correlations_that_no_quantities_have_are_refused():
    fitted = known_estimator()
    ones = tuple((1.0,) * len(row) for row in fitted.normal.correlation)
    normal = fitted.normal.model_copy(update={"correlation": ones})
    with pytest.raises(ManifestError, match="do not fit together"):
        EstimatingModel(fitted.model_copy(update={"normal": normal}), CLASSES)


def test_evidence_is_what_counting_gives():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (4, 500)).astype(np.float32)  # three classes and void
    ids = np.zeros((90, 120), np.uint8)
    ids[:, 60:] = 2
    found = frame_evidence(ids, scores, 3, temperature=2.0)
    exact = np.exp(scores.astype(np.float64) / 2)
    exact /= exact.sum(axis=0)
    winner = exact.argmax(axis=0)
    for index in range(4):
        assert found.mass[index] == pytest.approx(exact[index].mean(), abs=1e-5)
        assert found.sure[index] == pytest.approx(exact[index][winner == index].sum() / 500, abs=1e-5)
        doubtful = (winner == index) & (exact.max(axis=0) < 0.7)
        assert found.doubtful[index] == pytest.approx(doubtful.mean(), abs=1e-9)
    assert found.pixels.tolist() == [0.5, 0, 0.5, 0]
    assert found.edges.tolist() == [0, 0, 90 / (90 * 120), 0]
    twice = joined([found, found])
    assert twice.frames == 2
    assert twice.mass == pytest.approx(2 * found.mass)
    assert joined([frame_evidence(ids, None, 3)]).sure is None


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_by_which_scores_are_too_large_is_found(factor):
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 2, (5, 20000))
    chances = np.exp(honest) / np.exp(honest).sum(axis=0)
    labels = (chances.cumsum(axis=0) < rng.random(20000)).sum(axis=0)
    assert fit_temperature([factor * honest], [labels]) == pytest.approx(factor, rel=0.05)
    unlabelled = np.concatenate([labels, np.full(20000, 255)])
    twice = np.concatenate([factor * honest, honest[:, ::-1]], axis=1)
    assert fit_temperature([twice], [unlabelled]) == pytest.approx(factor, rel=0.05)
    assert fit_temperature([honest], [np.full(20000, 255)]) == 1.0


def test_a_class_that_only_one_run_of_frames_shows_has_no_line():
    rng = np.random.default_rng(0)
    windows = [
        known_window(f"kind{kind}", rng.uniform(0.4, 0.95), rng, run=run) for kind in range(6) for run in range(4)
    ]
    for window in windows:
        if window.run:
            window.score.per_class_iou["red"] = None
    fitted = fit_estimator(windows * 3, CLASSES, data="d", split="s", target="labels", temperature=1.0)
    assert set(fitted.classes) == set(fitted.class_error) == {"blue", "green"}


def test_the_bound_is_learned_from_windows_of_unknown_kinds_and_scenes():
    """Windows of one kind are all told 20 points too high: only leaving the kind out shows it."""
    rng = np.random.default_rng(0)
    windows = [
        known_window(f"kind{kind}", rng.uniform(0.4, 0.95), rng, run=run) for kind in range(6) for run in range(4)
    ]
    odd = [window for window in windows if window.kind == "kind5"]
    shifted = [
        replace(window, score=replace(window.score, miou=max(window.score.miou - 20, 1))) if window in odd else window
        for window in windows
    ]
    plain, biased = (
        fit_estimator(found, CLASSES, data="d", split="s", target="labels", temperature=1.0)
        for found in (windows, shifted)
    )
    assert plain.miou_error < 0.3
    assert biased.miou_error > 2 * plain.miou_error
