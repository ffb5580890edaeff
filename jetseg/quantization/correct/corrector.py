"""Correction after training: changes a network so that it loses less in 8 bits, and checks that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from jetseg.manifest import Manifest
from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import Tensor, probe
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import ClassMap, class_map
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.config import Correction, Policy
from jetseg.quantization.correct.activation_shift import shift_
from jetseg.quantization.correct.equalization import EVEN, equalize_
from jetseg.quantization.correct.input_folding import fold_input_
from jetseg.quantization.correct.weight_reconstruction import reconstruct_weights_
from jetseg.quantization.observe.observer import Observed
from jetseg.quantization.ranges import TensorRange, Trial

Feeds = Sequence[Mapping[str, Tensor]]
_TRIAL_FRAMES = 8
"""Frames of the reconstructions that compare starting points; on CamVid the order is that of four times as many."""
_GLIMPSE_FRAMES = 16
"""Frames that a variant is observed on before it is compared with others."""
_LEAST_SHARE = 0.002
"""Classes of fewer pixels are not looked at more often still: a few pixels would stand for the whole network."""


@dataclass(frozen=True)
class CorrectedGraph:
    """A network, corrected or not, with the ranges of its activations.

    Attributes:
        graph: The network, in float.
        tensors: Ranges by activation.
        corrections: What was done to it.
        reconstruction_frames: Frames that its weights were reconstructed on.
    """

    graph: Graph
    tensors: dict[str, TensorRange]
    corrections: tuple[Correction, ...] = ()
    reconstruction_frames: int = 0


@dataclass(frozen=True)
class Variant:
    """A network that computes the same as the original, and what was observed in it; ranges are not chosen yet.

    Attributes:
        graph: The network, in float.
        glimpse: Its activations on a few of the calibration frames, enough to compare variants.
        observe: Returns its activations on all calibration frames; for the variant that is kept.
        corrections: What was done to it.
    """

    graph: Graph
    glimpse: Observed
    observe: Callable[[], Observed]
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What `Corrector.run` found.

    Attributes:
        networks: The best candidate for each target.
        trials: Everything that was tried.
    """

    networks: dict[str, CorrectedGraph]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Corrector:
    """Tries corrections on a network.

    Attributes:
        manifest: Manifest of the network.
        input_name: Its input that takes the image.
        policy: Placement of the quantizers.
        watch: Observes a network's activations on so many of the calibration frames; None for all.
        frames: Frames that weight reconstruction learns from.
        held_out: Frames that decide.
        threads: Threads of ONNX Runtime.
    """

    manifest: Manifest
    input_name: str
    policy: Policy
    watch: Callable[[Graph, int | None], Observed]
    frames: Feeds
    held_out: Feeds
    threads: int | None = None

    def variants(self, graph: Graph, seen: Observed, allowed: Sequence[Correction]) -> list[Variant]:
        """Returns the network as it is, equalized, and shifted and equalized, as far as that is allowed.

        All but the first read pixels, if that is allowed.
        """
        found = [Variant(graph, seen, lambda: seen)]
        start = graph.copy()
        folded = "input-folding" in allowed and fold_input_(start, self.manifest.input, self.input_name)
        before: tuple[Correction, ...] = ("input-folding",) if folded else ()
        if before and "equalize" not in allowed:
            found.append(self._watched(start, before))
        channels = probe(start, self.frames[0], self.threads).channels
        if "equalize" in allowed:
            found.append(self._equalized(start, seen, channels, before))
        if "equalize" in allowed and "shift" in allowed:
            centers = {name: (low + seen.channel_high[name]) / 2 for name, low in seen.channel_low.items()}
            if shift_(start, centers, channels):
                channels = probe(start, self.frames[0], self.threads).channels
                shifted = self.watch(start, _GLIMPSE_FRAMES)
                found.append(self._equalized(start, shifted, channels, (*before, "shift")))
        return found

    def run(
        self,
        variants: Sequence[Variant],
        choose: Callable[[Observed], dict[str, TensorRange]],
        targets: Sequence[str],
        *,
        reconstruct: bool,
    ) -> Outcome:
        """Tries variants and keeps what is best on the held-out frames.

        The weights of all are reconstructed on a few frames and judged in the arithmetic of the first target, with
        ranges from a glimpse. What wins is observed on all calibration frames and reconstructed on all of `frames` for
        each target, on the same ranges.

        Args:
            variants: As `variants` gives them, the network as it is first.
            choose: Chooses ranges from what was observed.
            targets: Backends.
            reconstruct: Whether weights may be reconstructed.
        """
        starts = [CorrectedGraph(variant.graph, choose(variant.glimpse), variant.corrections) for variant in variants]
        plain, float_network = starts[0], variants[0].graph.model.SerializeToString()
        judge = _Judge(self, self.class_maps(float_network, self.held_out))
        frames: list[tuple[Mapping[str, Tensor], Tensor]] = []
        if reconstruct:
            frames.extend(zip(self.frames, rarity(self.class_maps(float_network, self.frames)), strict=True))
        few = frames[:: max(1, len(frames) // _TRIAL_FRAMES)]
        tried = [self._reconstructed(start, targets[0], few) for start in starts] if reconstruct else starts
        winner = judge.best(tried, targets[0])
        place = next(place for place, found in enumerate(tried) if found is winner)
        variant, start = variants[place], starts[place]
        settled = variant.observe() is variant.glimpse
        if not settled:
            start = CorrectedGraph(variant.graph, choose(variant.observe()), variant.corrections)
        if not reconstruct:
            return Outcome(dict.fromkeys(targets, judge.best([start, plain], targets[0])), judge.trials)
        final = winner if settled and len(few) == len(frames) else self._reconstructed(start, targets[0], frames)
        lead = judge.best([start, plain, final], targets[0])
        if lead is plain:  # no correction helped, and all targets share the ranges
            start = plain
        networks = {targets[0]: lead}
        for target in targets[1:]:
            networks[target] = judge.best([start, self._reconstructed(start, target, frames)], target)
        return Outcome(networks, judge.trials)

    def class_maps(self, model: bytes, feeds: Feeds) -> list[ClassMap]:
        """Returns what a network decides on some frames, quantizers computed as they stand."""
        session = make_session(model, threads=self.threads, optimize=False)
        output = [self.manifest.output.name or session.get_outputs()[0].name]
        return [class_map(run_session(session, output, dict(feed))[0], self.manifest) for feed in feeds]

    def _equalized(
        self, start: Graph, seen: Observed, channels: Mapping[str, int], before: tuple[Correction, ...]
    ) -> Variant:
        graph = start.copy()
        magnitudes = {name: np.maximum(-low, seen.channel_high[name]) for name, low in seen.channel_low.items()}
        # factors by noise look at what convolutions read; where all is quantized, even ranges did better
        equalize_(graph, magnitudes, channels, None if self.policy == "conv-inputs" else EVEN)
        return self._watched(graph, (*before, "equalize"))

    def _watched(self, graph: Graph, corrections: tuple[Correction, ...]) -> Variant:
        graph.check()
        glimpse = self.watch(graph, _GLIMPSE_FRAMES)
        observe = (lambda: glimpse) if glimpse.frames < _GLIMPSE_FRAMES else cache(partial(self.watch, graph, None))
        return Variant(graph, glimpse, observe, corrections)

    def _reconstructed(
        self, start: CorrectedGraph, target: str, frames: Sequence[tuple[Mapping[str, Tensor], Tensor]]
    ) -> CorrectedGraph:
        arithmetic, graph = ARITHMETICS[target], start.graph.copy()
        placement = arithmetic.place(graph, self.policy, start.tensors)
        quantizers = arithmetic.quantizers(placement, start.tensors)
        limit = arithmetic.weight_limit
        feeds, interest = zip(*frames, strict=True)
        reconstruct_weights_(graph, placement, quantizers, feeds, interest, weight_limit=limit, threads=self.threads)
        return CorrectedGraph(graph, start.tensors, (*start.corrections, "reconstruct"), len(frames))


def rarity(class_maps: Sequence[ClassMap]) -> list[Tensor]:
    """Returns how often to look at each pixel so that rare classes are not lost among common ones.

    Looked at evenly, poles and signs are one position in a hundred, and what a fit loses it loses there. Weights are
    the inverse square root of a class's share of the pixels.

    >>> import numpy as np
    >>> rarity([np.uint8([[0, 0, 0, 1]])])[0].round(2)
    array([[1.15, 1.15, 1.15, 2.  ]])
    """
    pixels = np.bincount(np.concatenate([found.ravel() for found in class_maps]))
    weights = np.maximum(pixels / pixels.sum(), _LEAST_SHARE) ** -0.5
    return [weights[found] for found in class_maps]


class _Judge:
    """Scores candidates by their agreement with the float network on held-out frames, each once per target."""

    def __init__(self, corrector: Corrector, wanted: list[ClassMap]) -> None:
        self._corrector, self._wanted = corrector, wanted
        self._judged: list[tuple[CorrectedGraph, Trial]] = []

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What was tried, in order."""
        return tuple(trial for _, trial in self._judged)

    def best(self, candidates: Sequence[CorrectedGraph], target: str) -> CorrectedGraph:
        """Returns the best candidate; of equals the first."""
        return max(candidates, key=lambda candidate: self._score(candidate, target))

    def _score(self, candidate: CorrectedGraph, target: str) -> float:
        for judged, trial in self._judged:
            if judged is candidate and trial.target == target:
                return trial.agreement
        arithmetic = ARITHMETICS[target]
        placement = arithmetic.place(candidate.graph, self._corrector.policy, candidate.tensors)
        model = arithmetic.render(candidate.graph.copy(), placement, candidate.tensors)
        found = self._corrector.class_maps(model.SerializeToString(), self._corrector.held_out)
        same = [float(np.mean(one == other)) for one, other in zip(found, self._wanted, strict=True)]
        trial = Trial(
            target=target,
            corrections=candidate.corrections,
            reconstruction_frames=candidate.reconstruction_frames,
            agreement=round(100.0 * float(np.mean(same)), 3),
        )
        self._judged.append((candidate, trial))
        return trial.agreement
