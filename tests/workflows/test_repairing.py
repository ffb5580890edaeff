"""Repairs are tried from the smallest on, until half of the loss is back."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jetseg.explanation.config import ExplainConfig
from jetseg.explanation.repair import Repair
from jetseg.manifest import Stage
from jetseg.workflows import repairing
from jetseg.workflows.making import as_before, as_options, train_settings
from jetseg.workflows.repairing import Repairs


@pytest.mark.parametrize(
    ("shares", "taken", "tries"),
    [((0.6, 0.9), 0.6, 1), ((0.2, 0.7, 0.9), 0.7, 2), ((0.3, 0.4, 0.1), 0.4, 3), ((None, 0.9), None, 1)],
)
def test_the_least_that_brings_half_back_is_taken_or_else_the_best(monkeypatch, shares, taken, tries):
    made = []

    def tried(_self, repair, _finding, _child, make):
        made.append(make)
        return replace(repair, share=shares[int(repair.words)])

    monkeypatch.setattr(Repairs, "_tried", tried)
    candidates = [(Repair("float-layers", str(place)), lambda folder: folder) for place in range(len(shares))]
    repairs = Repairs(None, None, ExplainConfig(repair=True))
    assert repairs._first_enough(None, None, candidates).share == taken
    assert len(made) == tries


def test_without_being_asked_to_try_the_smallest_is_proposed():
    candidates = ((Repair("float-layers", words), lambda folder: folder) for words in ("small", "large"))
    assert Repairs(None, None, ExplainConfig())._first_enough(None, None, candidates).words == "small"
    assert next(candidates)[0].words == "large"  # and was not even looked for


@pytest.mark.parametrize(
    ("expected", "recovered", "kind"),
    [(0.4, None, "float-layers"), (-0.1, None, "train"), (-0.1, 0.2, "float-layers"), (0.4, 0.0, "train")],
)
def test_layers_in_float_that_bring_nothing_back_are_not_proposed(monkeypatch, expected, recovered, kind):
    made = Repair("float-layers", "Keep 29 in float.", expected=expected, recovered=recovered)
    monkeypatch.setattr(Repairs, "_in_float", lambda *_: made)
    monkeypatch.setattr(Repairs, "_train", lambda *_: Repair("train", "Fine-tune it."))
    monkeypatch.setattr(repairing, "worst_frames", lambda *_: [0])
    finding = SimpleNamespace(kind="class", cause=SimpleNamespace(kind="quantizers"))
    effects, split = SimpleNamespace(subject="sign"), SimpleNamespace(classes=("sign",))
    found = Repairs(None, split, ExplainConfig()).find(None, None, finding, effects, None, 0)
    assert found.kind == kind


def test_a_repair_is_trained_as_the_child_was():
    stage = Stage(
        name="distill",
        settings={"data": "camvid:/a/camvid", "teacher": "/a/big.safetensors", "lr": 0.01, "epochs": 7, "seed": 3},
    )
    found = train_settings(stage, Path("/b/big.safetensors"))
    assert found == {"training": {"lr": 0.01, "seed": 3}, "teacher": Path("/b/big.safetensors")}
    assert "teacher" not in train_settings(stage, Path("/b/other.safetensors"))
    assert as_options(as_before([stage])) == ["--epochs", "7", "--lr", "0.01"]
    assert as_before([]) == {}
