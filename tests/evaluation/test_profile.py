import numpy as np
import pytest
from small_network import write_dataset, write_small_network

from jetseg.data.dataset import open_split
from jetseg.engine.engine import open_engine
from jetseg.evaluation.profile import Mahalanobis, measure_profile
from jetseg.measured import JointNormal, Profile


@pytest.fixture
def parts(tmp_path):
    engine = open_engine(write_small_network(tmp_path))
    return engine, open_split(write_dataset(tmp_path / "data", frames=12), "all")


def test_profile_survives_json_and_knows_every_signal(parts):
    engine, dataset = parts
    profile = measure_profile(engine.infer, engine.manifest, dataset, frames=8, parent=engine.segment)
    assert profile.frames == 8
    assert set(profile.joint) == {"colors", "scene", "classes"}
    assert {"brightness", "clipped", "sharpness", "doubt", "entropy", "colors"} <= set(profile.quantiles)
    assert profile.agreement_miou == 100.0
    assert sum(mean for mean, _ in profile.class_percent.values()) == pytest.approx(100, abs=0.1)
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_too_few_frames_give_no_profile(parts):
    engine, dataset = parts
    assert measure_profile(engine.infer, engine.manifest, dataset, frames=6) is None


def test_distance_equals_brute_force_mahalanobis():
    rng = np.random.default_rng(0)
    deviations, factor = rng.uniform(0.5, 2, 4), rng.normal(size=(4, 4))
    covariance = factor @ factor.T
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    normal = JointNormal(mean=(1, 2, 3, 4), std=tuple(deviations), correlation=tuple(map(tuple, correlation)))
    vector = rng.normal(size=4)
    offset = vector - [1, 2, 3, 4]
    inverse = np.linalg.inv(correlation * np.outer(deviations, deviations))
    assert Mahalanobis(normal)(vector) == pytest.approx(np.sqrt(offset @ inverse @ offset))
