"""What a build tries next when an engine failed the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jetseg.config import changed
from jetseg.engine.config import BuildConfig
from jetseg.engine.float_cost import gain_per_ms
from jetseg.engine.result import BuildResult
from jetseg.quantization.config import Method
from jetseg.quantization.ranges import Ranges

_METHODS: tuple[Method, ...] = ("mse", "percentile")
_FLOAT_LAYERS = (1, 2, 4, 8, 16)
MOST_FLOAT_LAYERS = _FLOAT_LAYERS[-1]
"""So many of the most harmful layers may go back to float."""


@dataclass
class Attempt:
    """One way to build; `result` is told what came of it, so that the next one can do better."""

    name: str
    config: BuildConfig
    ranges: Ranges | None
    result: BuildResult | None = None


def attempts(
    config: BuildConfig, ranges: Ranges | None, calibrate: Callable[[BuildConfig], Ranges], *, calibrated: bool
) -> Iterator[Attempt]:
    """Yields what to try, in order of what the engine's speed and the build cost.

    Args:
        config: As asked.
        ranges: The ranges to begin with; there for int8.
        calibrate: Calibrates anew with other settings.
        calibrated: Whether `ranges` were just calibrated with the settings of `config`.
    """
    first = Attempt("as asked", config, ranges)
    yield first
    if not config.auto or ranges is None:
        return
    best = first
    for method in _METHODS:
        if calibrated and (method, "accurate") == (config.method, config.preset):
            continue
        anew = changed(config, method=method, preset="accurate")
        attempt = Attempt(f"calibrated anew, {method}", anew, calibrate(anew))
        yield attempt
        best = min(best, attempt, key=lambda tried: tried.result.loss if tried.result else float("inf"))
    worst = best.result.sensitive_layers[:MOST_FLOAT_LAYERS] if best.result else ()
    layers = [effect.layer for effect in sorted(worst, key=gain_per_ms, reverse=True)]
    for count in _FLOAT_LAYERS:
        kept = tuple(dict.fromkeys((*config.keep_float, *layers[:count])))
        yield Attempt(f"{count} layers in float", changed(best.config, keep_float=kept), best.ranges)
        if count >= len(layers):
            return
