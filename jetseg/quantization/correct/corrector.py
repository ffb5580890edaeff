"""Correction after training: changes a network so that it loses less in 8 bits, and checks that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from jetseg.manifest import Manifest
from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import Tensor, probe
from jetseg.postprocess import ClassMap, TaskMap
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.config import Correction, Policy
from jetseg.quantization.correct import input_folding
from jetseg.quantization.correct.activation_shift import shift_
from jetseg.quantization.correct.candidate import ChooseRanges, CorrectedGraph, Feed, Outcome, Variant
from jetseg.quantization.correct.channel_groups import Factors
from jetseg.quantization.correct.equalization import EVEN, equalize_
from jetseg.quantization.correct.judge import Judge, decisions
from jetseg.quantization.correct.positions import rarity
from jetseg.quantization.correct.rescaling import rescale_
from jetseg.quantization.correct.weight_reconstruction import reconstruct_weights_
from jetseg.quantization.observe.observer import Observed

_TRIAL_FRAMES = 4
"""Frames of the reconstructions that compare starting points; for ESPNet on CamVid the order is that of more."""
_GOOD_AGREEMENT = 99.0
"""Percent of the pixels: a network that keeps so many is not given multiplications, which take time."""
_GLIMPSE_FRAMES = 8
"""Frames that a variant is observed on before it is compared with others."""


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
        keep_float: What is in float whatever the arithmetic, by output.
    """

    manifest: Manifest
    input_name: str
    policy: Policy
    watch: Callable[[Graph, int | None], Observed]
    frames: Sequence[Feed]
    held_out: Sequence[Feed]
    threads: int | None = None
    keep_float: frozenset[str] = frozenset()

    def variants(self, graph: Graph, allowed: Sequence[Correction]) -> list[Variant]:
        """Returns the network as it is, equalized, and shifted and equalized, as far as that is allowed.

        All but the first read pixels, if that is allowed.
        """
        found = [self._watched(graph, ())]
        seen = found[0].glimpse
        start = graph.copy()
        pixels = None
        if "input-folding" in allowed:
            pixels = input_folding.fold_input_(start, self.manifest.input, self.input_name)
        before: tuple[Correction, ...] = ("input-folding",) if pixels else ()
        if before and "equalize" not in allowed:
            found.append(self._watched(start, before))
        channels = probe(start, self.frames[0](), self.threads).channels
        if "equalize" in allowed:
            found.append(self._equalized(start, seen, channels, before))
        if "equalize" in allowed and "shift" in allowed:
            centers = {name: (low + seen.channel_high[name]) / 2 for name, low in seen.channel_low.items()}
            if shift_(start, centers, channels):
                channels = probe(start, self.frames[0](), self.threads).channels
                shifted = self.watch(start, _GLIMPSE_FRAMES)
                found.append(self._equalized(start, shifted, channels, (*before, "shift")))
        return [found[0], *(replace(variant, pixels=pixels) for variant in found[1:])]

    def run(
        self,
        variants: Sequence[Variant],
        choose: ChooseRanges,
        targets: Sequence[str],
        *,
        reconstruct: bool,
        rescale: bool = False,
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
            rescale: Whether the last variant may be rescaled; that is tried where all of them lose much.
        """
        starts = [variant.start(variant.glimpse, choose) for variant in variants]
        plain, float_network = starts[0], variants[0].graph.model.SerializeToString()
        decide = partial(decisions, float_network, self.manifest, threads=self.threads)
        wanted = decide(self.held_out)
        judge = Judge(self.manifest, self.policy, self.held_out, wanted, self.threads, self.keep_float)
        frames: list[tuple[Feed, Tensor]] = []
        if reconstruct:
            frames.extend(zip(self.frames, rarity(list(map(_classes_of, decide(self.frames)))), strict=True))
        few = frames[:: max(1, -(-len(frames) // _TRIAL_FRAMES))]
        tried = [self._reconstructed(start, targets[0], few) if reconstruct else start for start in starts]
        winner = judge.best(tried, targets[0])
        if rescale and max(trial.agreement for trial in judge.trials) < _GOOD_AGREEMENT:
            for variant in self._freed(variants[-1]):
                variants, start = [*variants, variant], variant.start(variant.glimpse, choose)
                starts.append(start)
                tried.append(self._reconstructed(start, targets[0], few) if reconstruct else start)
                winner = judge.best([winner, tried[-1]], targets[0])
        place = next(place for place, found in enumerate(tried) if found is winner)
        del tried  # each holds all weights
        start = variants[place].settle(starts[place], choose)
        candidates = [start] if place == 0 else [start, plain]
        if reconstruct:
            whole = start is starts[place] and len(few) == len(frames)
            candidates.append(winner if whole else self._reconstructed(start, targets[0], frames))
        lead = judge.best(candidates, targets[0])
        del candidates, winner
        if lead is plain:  # no correction helped, and all targets share the ranges
            place = 0
            lead = start = variants[0].settle(plain, choose)
        networks = dict.fromkeys(targets, lead)
        for target in targets[1:] if reconstruct else ():
            networks[target] = judge.best([start, self._reconstructed(start, target, frames)], target)
        return Outcome(networks, variants[place].observe(), judge.trials)

    def _equalized(
        self,
        start: Graph,
        seen: Observed,
        channels: Mapping[str, int],
        before: tuple[Correction, ...],
        *,
        norms: bool = False,
    ) -> Variant:
        graph = start.copy()
        # factors by noise look at what layers read; where all is quantized, even ranges did better
        strength = None if self.policy == "conv-inputs" else EVEN
        equalize_(graph, _magnitudes(seen), channels, strength, norms=norms)
        again = partial(self._equalized, start, seen, channels, before, norms=True)
        return replace(self._watched(graph, (*before, "equalize")), with_norms=again)

    def _freed(self, variant: Variant) -> list[Variant]:
        """Returns variants of one that loses much.

        One has factors that look at what batch norms read as well; one has, on top of that, multiplications where
        channels are far apart.
        """
        found = [] if variant.with_norms is None else [variant.with_norms()]
        base = found[0] if found else variant
        graph = base.graph.copy()
        if rescale_(graph, _magnitudes(base.glimpse)):
            found.append(self._watched(graph, (*base.corrections, "rescale")))
        return [replace(each, pixels=variant.pixels) for each in found]

    def _watched(self, graph: Graph, corrections: tuple[Correction, ...]) -> Variant:
        graph.check()
        glimpse = self.watch(graph, _GLIMPSE_FRAMES)
        observe = (lambda: glimpse) if glimpse.frames < _GLIMPSE_FRAMES else cache(partial(self.watch, graph, None))
        return Variant(graph, glimpse, observe, corrections)

    def _reconstructed(
        self, start: CorrectedGraph, target: str, frames: Sequence[tuple[Feed, Tensor]]
    ) -> CorrectedGraph:
        arithmetic, graph = ARITHMETICS[target], start.graph.copy()
        placement = arithmetic.place(graph, self.policy, start.tensors, self.keep_float)
        quantizers = arithmetic.quantizers(placement, start.tensors)
        limit = arithmetic.weight_limit
        feeds, interest = [feed() for feed, _ in frames], [weights for _, weights in frames]
        reconstruct_weights_(
            graph,
            placement,
            quantizers,
            feeds,
            interest,
            original=start.graph,
            weight_limit=limit,
            threads=self.threads,
        )
        return CorrectedGraph(graph, start.tensors, (*start.corrections, "reconstruct"), len(frames))


def _magnitudes(seen: Observed) -> dict[str, Factors]:
    """Returns the range of each channel, by activation."""
    return {name: np.maximum(-low, seen.channel_high[name]) for name, low in seen.channel_low.items()}


def _classes_of(maps: Sequence[TaskMap]) -> ClassMap:
    """Returns the map of the first task that has classes; of depth alone, one class everywhere."""
    found = next((values for values in maps if values.dtype == np.uint8), None)
    return np.zeros(maps[0].shape, np.uint8) if found is None else found.astype(np.uint8, copy=False)
