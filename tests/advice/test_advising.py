"""Advice on a checkpoint, all of it: each probe runs, and what is recommended is as fast as was said."""

import pytest

from jetseg.advice.advising import advise
from jetseg.advice.plan import Plan
from jetseg.recipes.recipe import load_recipe
from jetseg.recipes.run import run_recipe


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_checkpoint_is_advised_on(checkpoint, tmp_path):
    advice = advise(
        checkpoint,
        data="synthetic:12",
        out=tmp_path / "advice.yaml",
        page=tmp_path / "advice.html",
        max_drop=100,
        frames=4,
        epochs=1,
        minutes=60,
    )
    found = {finding.technique: finding for finding in advice.findings}
    assert not any("failed" in finding.impossible for finding in advice.findings)
    assert {option.plan.prune_ratio for option in found["pruning"].options} == {0.25, 0.5, 0.7}
    assert "came back by learning" in found["pruning"].notes[0] or found["pruning"].options[1].expected_drop <= 0
    assert found["pruning"].figures[0].values
    assert found["input size"].options
    assert "no teacher" in found["distillation"].impossible
    sets = [chain.plan.techniques for chain in advice.ranked]
    assert len(sets) == len(set(sets)) == 3
    assert all(chain.speed is not None for chain in advice.ranked)
    assert "Each group of layers alone" in advice.page.read_text()
    results = run_recipe(load_recipe(str(advice.recipes[0])), "synthetic:12", tmp_path / "run")
    assert "engine" in results[-1].artifacts
    assert advice.recommended.plan != Plan()
