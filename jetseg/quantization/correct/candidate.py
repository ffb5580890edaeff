"""What correction works on: networks that compute the same, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import Tensor
from jetseg.quantization.config import Correction
from jetseg.quantization.correct import input_folding
from jetseg.quantization.observe.observer import Observed
from jetseg.quantization.ranges import TensorRange, Trial

Feed = Callable[[], Mapping[str, Tensor]]
"""Reads the graph inputs of one frame."""
ChooseRanges = Callable[[Observed], dict[str, TensorRange]]


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
        pixels: Its tensor that holds the pixels of the image, if there is one; its range is known beforehand.
        with_norms: Makes it anew with factors that look at what batch norms read as well; None if it has no factors.
    """

    graph: Graph
    glimpse: Observed
    observe: Callable[[], Observed]
    corrections: tuple[Correction, ...] = ()
    pixels: str | None = None
    with_norms: Callable[[], Variant] | None = None

    def start(self, observed: Observed, choose: ChooseRanges) -> CorrectedGraph:
        """Returns the network with ranges from what was observed."""
        tensors = choose(observed)
        if self.pixels:
            tensors[self.pixels] = input_folding.RANGE
        return CorrectedGraph(self.graph, tensors, self.corrections)

    def settle(self, start: CorrectedGraph, choose: ChooseRanges) -> CorrectedGraph:
        """Returns a start on a glimpse with ranges from all frames; itself, if the glimpse was all of them."""
        return start if self.observe() is self.glimpse else self.start(self.observe(), choose)


@dataclass(frozen=True)
class Outcome:
    """What `Corrector.run` found.

    Attributes:
        networks: The best candidate for each target.
        observed: What its ranges were chosen from, which all targets share.
        trials: Everything that was tried.
    """

    networks: dict[str, CorrectedGraph]
    observed: Observed
    trials: tuple[Trial, ...] = ()
