"""What a learner sees of an operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from jetseg.latency.unit import Unit

_RANK = 4
_BLOCKS = (4, 8, 16)
"""Channels come in blocks of these sizes in most kernels; a block that is not full costs as much as a full one."""


def work(unit: Unit) -> npt.NDArray[np.float64]:
    """Returns what the latency of an operator is about linear in: nothing (a call), products, values, weights."""
    return np.array([1.0, unit.macs, unit.read + unit.written, prod(unit.weights)])


def features(unit: Unit, words: Sequence[str]) -> npt.NDArray[np.float64]:
    """Returns sizes as logarithms, how well blocks of channels are filled, and what is fused.

    Args:
        unit: The operator.
        words: What may be fused into it; all else is not seen.
    """
    first = unit.inputs[0] if unit.inputs else ()
    sizes = [*_padded(unit.output), *_padded(first), *_padded(unit.weights)]
    logs = [math.log2(size) for size in (*sizes, *_padded(unit.stride)[-2:], *_padded(unit.dilation)[-2:], unit.groups)]
    amounts = [math.log2(1 + amount) for amount in (unit.macs, unit.read, unit.written, prod(unit.weights))]
    per_value = math.log2((1 + unit.macs) / (unit.read + unit.written + prod(unit.weights)))
    filled = [_filled(channels, block) for channels in (_channels(unit.output), _channels(first)) for block in _BLOCKS]
    fused = [float(word in unit.fused) for word in words]
    return np.array([*logs, *amounts, per_value, *filled, float(len(unit.inputs)), *fused])


def _padded(shape: Sequence[int]) -> list[int]:
    """Returns the last four sizes, with ones in front."""
    return [1] * (_RANK - len(shape)) + list(shape[-_RANK:])


def _channels(shape: Sequence[int]) -> int:
    """Returns channels of an image, and the length of rows of anything else."""
    return (shape[1] if len(shape) == _RANK else shape[-1]) if shape else 1


def _filled(count: int, block: int) -> float:
    return count / (math.ceil(count / block) * block)
