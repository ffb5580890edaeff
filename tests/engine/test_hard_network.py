"""Channels with ranges three decades apart: 8 bits keep most pixels, and few multiply-accumulates in float the rest."""

import onnx
import pytest
from hard_network import DILATIONS, write_hard_network

from jetseg.data.dataset import Dataset
from jetseg.engine.build import build_engine
from jetseg.engine.config import BuildConfig
from jetseg.network import open_network

pytestmark = pytest.mark.slow

TRAINED = {"as in ESPNet": (0, DILATIONS), "another": (1, DILATIONS), "wider": (2, (1, 3, 9, 12)), "two": (3, (1, 2))}


def build(folder, seed, dilations, *, trained, own=False, **changes):
    settings = {"images": 8, "eval_frames": 8, "max_drop": 100.0, "max_class_drop": 100.0, "force": True, "threads": 1}
    config = BuildConfig(**{**settings, **changes})
    network = open_network(write_hard_network(folder, seed, dilations, trained=trained, own=own))
    return build_engine(network, config, dataset=Dataset("synthetic:16"), out=folder / "e.onnx")


@pytest.mark.parametrize("trained", [False, True])
def test_the_default_keeps_95_percent(tmp_path, trained):
    built = build(tmp_path, 0, DILATIONS, trained=trained, min_agreement=95.0)
    assert built.agreement.percent >= 95.0
    onnx.checker.check_model(str(built.path))


@pytest.mark.parametrize("seed", [0, 1])
def test_branches_with_ranges_of_their_own_keep_98_percent(tmp_path, seed):
    """Equalization cannot free what they tie together; multiplications do."""
    built = build(tmp_path, seed, DILATIONS, trained=True, own=True, min_agreement=98.0)
    assert built.agreement.percent >= 98.0
    assert any("rescale" in trial.corrections for trial in built.ranges.record.trials)


@pytest.mark.parametrize("kind", TRAINED)
def test_auto_keeps_98_percent_with_15_percent_of_the_work_in_float(kind, tmp_path, monkeypatch):
    """What layers take decides elsewhere; here their work does, so that each run finds the same."""
    monkeypatch.setattr("jetseg.engine.build.hold_contest", lambda *_, **__: None)
    monkeypatch.setattr("jetseg.engine.blame.time_in_float", lambda effects, *_: effects)
    built = build(tmp_path, *TRAINED[kind], trained=True, min_agreement=98.0, auto=True)
    assert built.agreement.percent >= 98.0
    assert 1.0 - built.report.integer_macs / sum(built.report.macs.values()) <= 0.15
