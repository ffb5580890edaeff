"""What it costs in latency to take layers back to float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jetseg.engine.backend import find_backend
from jetseg.engine.layer_timer import LayerTimer
from jetseg.manifest import Precision
from jetseg.quantization.sensitivity import LayerEffect


def time_in_float(effects: Sequence[LayerEffect], backend: str, threads: int) -> list[LayerEffect]:
    """Times layers in float and in 8 bits on a backend, and notes the difference.

    Args:
        effects: Layers; those without a shape are not timed.
        backend: A name of `jetseg.registry.BACKENDS`.
        threads: Threads of a CPU backend.

    Returns:
        The effects; those that cannot be timed, as on a backend that names no candidates, as they were.

    Raises:
        JetsegError: The backend cannot build or run a layer.
    """
    precisions = {candidate.precision for candidate in find_backend(backend).candidates}
    in_float: Precision = "fp16" if "fp16" in precisions else "fp32"
    if not {in_float, "int8"} <= precisions:
        return list(effects)
    pieces = [(effect.shape,) for effect in effects if effect.shape]
    slow, fast = (LayerTimer(backend, precision, threads)(pieces) for precision in (in_float, "int8"))
    costs = dict(zip(pieces, (long - short for long, short in zip(slow, fast, strict=True)), strict=True))
    return [replace(effect, float_ms=round(costs[effect.shape,], 4)) if effect.shape else effect for effect in effects]
