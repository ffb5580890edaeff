"""What a layer's channels answer to: each is silenced alone, and the class's own pixels tell what that does to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import helper

from jetseg.explanation.causes.trials import Trials
from jetseg.onnx.graph import Graph

MOST = 5
"""How many of a layer's channels are said to matter most to a class."""
_FRAMES = 4
_MOST_CHANNELS = 256


def channel_relevance(graph: Graph, tensor: str, channels: int, trials: Trials) -> npt.NDArray[np.float64] | None:
    """Returns how much each channel of a tensor speaks for the class that is looked at.

    Args:
        graph: The parent.
        tensor: Output of one of its layers, 1 x channels x ... .
        channels: How many it has.
        trials: The frames.

    Returns:
        Per channel, the log-probability that the class loses at its own pixels without the channel; None where nothing
        can be told: no class is looked at, the output is a class map, or there are too many channels.
    """
    if not trials.subject or trials.manifest.output.kind == "classmap" or channels > _MOST_CHANNELS:
        return None
    masked = graph.copy()
    rank = len(masked.shapes.get(tensor) or (1, channels, 1, 1))
    mask = masked.free_name(f"{tensor}.mask")
    shape = [1, channels, *[1] * (rank - 2)]
    masked.model.graph.input.append(helper.make_tensor_value_info(mask, 1, shape))
    masked.interpose(helper.make_node("Mul", [masked.free_name(f"{tensor}.whole"), mask], [tensor]))
    score = trials.likelihood(masked.model, _FRAMES)
    whole = np.ones(shape, np.float32)
    full = score({mask: whole})
    dropped = []
    for channel in range(channels):
        without = whole.copy()
        without[0, channel] = 0
        dropped.append(full - score({mask: without}))
    return np.array(dropped)


def lost_of_most(relevance: npt.NDArray[np.float64], gone: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Returns which of the channels that mattered most are gone, those first that mattered more, and how many did.

    >>> lost_of_most(np.array([0.1, 3.0, 0.0, 2.0, -1.0]), (1, 4))
    ((1,), 3)
    """
    most = [int(channel) for channel in np.argsort(-relevance, kind="stable")[:MOST] if relevance[channel] > 0]
    return tuple(channel for channel in most if channel in gone), len(most)
