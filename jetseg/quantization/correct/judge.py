"""Judges candidates by the pixels that keep the float network's class, of several tasks in the worst.

Who is behind is not judged to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import ref

import numpy as np

from jetseg.manifest import Manifest
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import TaskMap, same_share, task_maps
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.config import Correction, Policy
from jetseg.quantization.correct.candidate import CorrectedGraph, Feed
from jetseg.quantization.ranges import Trial

_FEWEST_FRAMES = 4
_BEHIND = 3.0
"""Standard errors of the mean difference by which a candidate is behind for good."""


def decisions(model: bytes, manifest: Manifest, feeds: Sequence[Feed], threads: int | None) -> list[list[TaskMap]]:
    """Returns what a network decides on some frames, the map of each task, quantizers computed as they stand."""
    decide = _Session(model, manifest, threads)
    return [decide(feed) for feed in feeds]


class Judge:
    """Scores candidates by their agreement with the float network on held-out frames.

    Args:
        manifest: Manifest of the network.
        policy: Placement of the quantizers.
        held_out: Frames to judge by.
        wanted: What the float network decides on them.
        threads: Threads of ONNX Runtime.
        keep_float: Layers, by output, that stay in float.
    """

    def __init__(
        self,
        manifest: Manifest,
        policy: Policy,
        held_out: Sequence[Feed],
        wanted: Sequence[Sequence[TaskMap]],
        threads: int | None,
        keep_float: frozenset[str] = frozenset(),
    ) -> None:
        self._manifest, self._policy, self._threads, self._keep_float = manifest, policy, threads, keep_float
        self._frames = list(zip(held_out, wanted, strict=True))
        self._scores: list[_Score] = []

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What was tried, in order."""
        return tuple(score.trial() for score in self._scores)

    def best(self, candidates: Sequence[CorrectedGraph], target: str) -> CorrectedGraph:
        """Returns the best candidate; of equals the first.

        All are judged frame by frame. Those that are clearly behind by then are given up; the best one is judged on
        all frames.
        """
        left = [self._score(candidate, target) for candidate in candidates]
        sessions = {id(score): self._session(score) for score in left if len(score.same) < len(self._frames)}
        for place, (feed, wanted) in enumerate(self._frames):
            for score in left:
                if len(score.same) == place:
                    score.same.append(same_share(sessions[id(score)](feed), wanted))
            left = _still_in(left, place + 1)
        return max(left, key=_Score.mean).candidate

    def _score(self, candidate: CorrectedGraph, target: str) -> _Score:
        """Returns the score of a candidate so far."""
        for score in self._scores:
            if score.of() is candidate and score.target == target:
                return score
        known = candidate.corrections, candidate.reconstruction_frames
        self._scores.append(_Score(ref(candidate), *known, target))
        return self._scores[-1]

    def _session(self, score: _Score) -> _Session:
        candidate, arithmetic = score.candidate, ARITHMETICS[score.target]
        placement = arithmetic.place(candidate.graph, self._policy, candidate.tensors, self._keep_float)
        model = arithmetic.render(candidate.graph.copy(), placement, candidate.tensors)
        return _Session(model.SerializeToString(), self._manifest, self._threads)


@dataclass
class _Score:
    """The share of pixels that are the same in each frame so far; the candidate is not kept alive, as it is large."""

    of: ref[CorrectedGraph]
    corrections: tuple[Correction, ...]
    reconstruction_frames: int
    target: str
    same: list[float] = field(default_factory=list)

    @property
    def candidate(self) -> CorrectedGraph:
        """The candidate, while it is compared."""
        found = self.of()
        if found is None:
            raise RuntimeError("The candidate is gone.")
        return found

    def mean(self) -> float:
        return float(np.mean(self.same))

    def trial(self) -> Trial:
        return Trial(
            target=self.target,
            corrections=self.corrections,
            reconstruction_frames=self.reconstruction_frames,
            held_out_frames=len(self.same),
            agreement=round(100.0 * self.mean(), 3),
        )


def _still_in(scores: Sequence[_Score], frames: int) -> list[_Score]:
    """Leaves out the candidates that are behind the best one by more than chance, frame for frame."""
    if frames < _FEWEST_FRAMES:
        return list(scores)
    lead = max(scores, key=lambda score: float(np.mean(score.same[:frames])))
    left = []
    for score in scores:
        behind = np.subtract(lead.same[:frames], score.same[:frames])
        if behind.mean() <= _BEHIND * behind.std(ddof=1) / frames**0.5:
            left.append(score)
    return left


class _Session:
    """What a network decides, frame by frame, its nodes computed one by one as they stand."""

    def __init__(self, model: bytes, manifest: Manifest, threads: int | None) -> None:
        self._session = make_session(model, threads=threads, optimize=False, arena=False)
        self._manifest = manifest
        self._outputs = [output.name or self._session.get_outputs()[0].name for output in manifest.outputs]

    def __call__(self, feed: Feed) -> list[TaskMap]:
        return list(task_maps(run_session(self._session, self._outputs, dict(feed())), self._manifest).values())
