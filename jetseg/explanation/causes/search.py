"""Looks for the causes of a loss in two ONNX files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jetseg.data.contract import Split
from jetseg.explanation.causes.cause import Effects
from jetseg.explanation.causes.features import effects_of_features
from jetseg.explanation.causes.quantizers import effects_of_quantizers
from jetseg.explanation.causes.trials import Trials
from jetseg.explanation.causes.weights import effects_of_weights
from jetseg.explanation.observe import Observation
from jetseg.network import Network
from jetseg.onnx.file import load_onnx
from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import QUANTIZE, of_type
from jetseg.report.rows import Entry


def search_causes(
    parent: Entry, child: Entry, split: Split, indices: Sequence[int], subject: str, threads: int | None
) -> Effects | None:
    """Looks for the layers of a child that are to blame.

    Args:
        parent: The float parent.
        child: The child.
        split: The frames.
        indices: Frames to look at.
        subject: The class that suffered; empty for the mean over all.
        threads: Threads of ONNX Runtime.

    Returns:
        What was found; None where the files do not tell, as an engine of TensorRT does not.
    """
    dense, small = graph_of(parent), graph_of(child)
    if dense is None or small is None or parent.engine.manifest.input != child.engine.manifest.input:
        return None
    trials = Trials(parent.engine.manifest, child.engine.manifest, split, indices, subject, threads)
    effects = effects_of_quantizers if is_quantized(small) else effects_of_weights
    return effects(dense, small, trials) or effects_of_features(dense, small, trials)


def graph_of(entry: Entry) -> Graph | None:
    """Returns the graph that an entry runs; None where it runs something else than an ONNX file."""
    network: Network | None = entry.engine.network
    if network is None or network.path.suffix.lower() != ".onnx":
        return None
    graph = Graph(load_onnx(network.path, network.sha256))
    return graph if is_quantized(graph) else network.float_graph()


def is_quantized(graph: Graph) -> bool:
    """Tells whether a network has quantizers."""
    return next(of_type(graph, QUANTIZE), None) is not None


def worst_frames(seen: Observation, child: int, subject: str, count: int, classes: Sequence[str]) -> list[int]:
    """Returns the frames, by position in the split, in which a child lost most of a class."""
    if subject:
        lost = [frame.lost[child][classes.index(subject)] for frame in seen.frames]
    else:
        lost = [frame.right[0] - frame.right[child + 1] for frame in seen.frames]
    chosen = np.argsort(-np.asarray(lost, dtype=np.float64), kind="stable")[:count]
    return sorted(seen.frames[place].index for place in chosen)
