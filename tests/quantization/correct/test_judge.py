from types import SimpleNamespace

import numpy as np
import pytest

from jetseg.quantization.correct.candidate import CorrectedGraph
from jetseg.quantization.correct.judge import Judge

FRAMES = 16
PIXELS = 1000


class Fixed:
    """In place of a session: keeps the class of so many pixels of each frame."""

    looks = 0

    def __init__(self, kept: list[int]) -> None:
        self.kept = kept

    def __call__(self, feed) -> list[np.ndarray]:
        Fixed.looks += 1
        return [np.uint8(np.arange(PIXELS) >= self.kept[feed()])]


@pytest.fixture
def judged(monkeypatch):
    Fixed.looks = 0
    monkeypatch.setattr(Judge, "_session", lambda _, score: Fixed(score.candidate.graph))
    feeds = [lambda frame=frame: frame for frame in range(FRAMES)]
    return Judge(SimpleNamespace(), "conv-inputs", feeds, [[np.zeros(PIXELS, np.uint8)]] * FRAMES, None)


def candidate(kept) -> CorrectedGraph:
    return CorrectedGraph(list(kept), {})


def test_a_candidate_that_is_behind_is_not_judged_to_the_end(judged):
    hard = np.random.default_rng(0).integers(0, 200, FRAMES)  # frames differ more than candidates do
    good, bad = candidate(990 - hard), candidate(980 - hard - np.arange(FRAMES) % 2)
    assert judged.best([bad, good], "tensorrt") is good
    assert [trial.held_out_frames for trial in judged.trials] == [4, FRAMES]
    assert judged.trials[1].agreement == pytest.approx((990 - hard.mean()) / 10, abs=1e-3)
    assert Fixed.looks == FRAMES + 4


def test_what_may_be_chance_is_judged_to_the_end(judged):
    good = candidate(990 + np.resize([4, 0], FRAMES))
    late = candidate(990 + np.resize([0, 3], FRAMES) + 2 * (np.arange(FRAMES) > 3))
    assert judged.best([good, late], "tensorrt") is late
    assert {trial.held_out_frames for trial in judged.trials} == {FRAMES}


def test_of_equals_the_first_is_kept_and_nothing_is_judged_twice(judged):
    one, other = candidate([990] * FRAMES), candidate([990] * FRAMES)
    assert judged.best([one, other], "tensorrt") is one
    assert judged.best([other, one], "tensorrt") is other
    assert Fixed.looks == 2 * FRAMES
    assert judged.best([one], "onnxruntime") is one
    assert Fixed.looks == 3 * FRAMES
