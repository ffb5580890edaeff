"""Which attempts a build makes, and that the fewest layers in float are found that pass."""

from pathlib import Path

import pytest
from small_network import small_manifest

from jetseg.engine.backend import BuildReport
from jetseg.engine.config import BuildConfig
from jetseg.engine.mixtures import Mixture
from jetseg.engine.result import BuildResult
from jetseg.engine.retries import attempts
from jetseg.evaluation.agreement import Agreement
from jetseg.quantization.arithmetic import ARITHMETICS

RANGES = object()
MIXTURES = [Mixture(frozenset(f"c{index:02}" for index in range(count)), 3.0 - 0.1 * count) for count in range(1, 21)]


def result_of(config, needed):
    """An engine that passes with so many layers in float."""
    passed = len(config.keep_float) >= needed
    agreement = Agreement(1, 97.0 + 0.1 * len(config.keep_float), {"road": 97.0})
    found = BuildResult(Path("e"), small_manifest(), BuildReport((), ()), agreement=agreement)
    return found if passed else BuildResult(**{**vars(found), "violations": ("too few pixels",)})


def run(config, needed, **named):
    """Makes the attempts; returns them, and the settings that were calibrated with."""
    calibrated, made = [], []

    def calibrate(settings):
        calibrated.append(settings)
        return RANGES

    for attempt in attempts(config, RANGES, calibrate, calibrated=True, mixtures=lambda _: MIXTURES, **named):
        attempt.result = result_of(attempt.config, needed)
        made.append(attempt)
    return made, calibrated


@pytest.mark.parametrize("needed", [1, 2, 3, 5, 8, 13, 20])
def test_the_last_that_passes_has_no_more_in_float_than_it_needs(needed):
    made, _ = run(BuildConfig(auto=True, min_agreement=97.0 + 0.1 * needed), needed)
    passing = [attempt for attempt in made if not attempt.result.violations]
    assert len(passing[-1].config.keep_float) == needed
    assert len(made) <= 2 + 3, "what mixtures lose was foretold"


@pytest.mark.parametrize("needed", [1, 8, 13, 20])
def test_what_was_foretold_wrongly_is_put_right_by_what_came_of_it(needed, monkeypatch):
    wrong = [Mixture(found.in_float, 0.4 * found.loss) for found in MIXTURES]
    monkeypatch.setattr(f"{__name__}.MIXTURES", wrong)
    made, _ = run(BuildConfig(auto=True, min_agreement=97.0 + 0.1 * needed), needed)
    assert len([attempt for attempt in made if not attempt.result.violations][-1].config.keep_float) == needed


def test_each_is_calibrated_for_what_it_has_in_float():
    """Corrections that make up for rounding where nothing is rounded any more would be mistakes."""
    made, calibrated = run(BuildConfig(auto=True, min_agreement=98.5), 5)
    mixed = [attempt.config for attempt in made if attempt.config.keep_float]
    assert mixed
    assert [config for config in calibrated if config.keep_float] == mixed
    assert mixed[0].calibration(ARITHMETICS["onnxruntime"]).keep_float == mixed[0].keep_float


def test_a_mixture_for_speed_that_fails_gives_way_to_all_on_integers():
    mixed = BuildConfig(keep_float=("a",))
    made, _ = run(mixed, 1)
    assert [attempt.name for attempt in made] == ["as asked"]
    made, _ = run(mixed, 2, plain=BuildConfig())
    assert [(attempt.name, attempt.config.keep_float) for attempt in made] == [
        ("as asked", ("a",)),
        ("all on integers", ()),
    ]


def test_nothing_is_tried_after_what_passes():
    assert len(run(BuildConfig(auto=True), 0)[0]) == 1
