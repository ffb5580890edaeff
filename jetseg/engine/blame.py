"""Which layers of an int8 engine lose accuracy, and what it costs to take them back to float."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from jetseg.data.contract import Split
from jetseg.engine.config import BuildConfig
from jetseg.engine.float_cost import time_in_float
from jetseg.evaluation.accuracy import spread
from jetseg.network import Network
from jetseg.preprocess import Preprocessor
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.sensitivity import LayerEffect, layer_sensitivity

_FRAMES = 4
_MOST_TIMED = 16
"""So many of the most harmful layers are timed where the times of all are not known."""


def sensitive_layers(
    ranges: Ranges,
    arithmetic: Arithmetic,
    integer_layers: Collection[str],
    split: Split,
    config: BuildConfig,
    *,
    more_in_float: Mapping[str, float],
    runs_here: bool,
) -> tuple[LayerEffect, ...]:
    """Returns the quantized layers, the most harmful first, with what they cost in float as far as that is known.

    Args:
        ranges: Ranges of the network.
        arithmetic: The backend's arithmetic.
        integer_layers: What the engine has on integers, of those that a backend chooses.
        split: Frames to judge by.
        config: Settings that the engine was built with.
        more_in_float: Milliseconds that layers take longer in float; without any, the worst layers are timed alone.
        runs_here: Whether this machine can time layers on the backend.
    """
    network: Network = ranges.network_for(arithmetic.corrected_for)
    preprocess = Preprocessor(network.manifest.input)
    frames = (split[index].image_hwc_u8 for index in spread(len(split), _FRAMES))
    feeds = [{network.image_input: preprocess(frame).copy()} for frame in frames]
    graph, kept, chosen = network.float_graph(), frozenset(config.keep_float), frozenset(integer_layers)
    placement = arithmetic.place(graph, ranges.placement, ranges.tensors, kept, chosen)
    effects = layer_sensitivity(graph, network.manifest, arithmetic, placement, ranges.tensors, feeds, config.threads)
    if more_in_float:
        return tuple(replace(effect, float_ms=more_in_float.get(effect.layer)) for effect in effects)
    if not runs_here:
        return tuple(effects)
    worst, others = effects[:_MOST_TIMED], effects[_MOST_TIMED:]
    return (*time_in_float(worst, config.backend, config.threads or 1), *others)
