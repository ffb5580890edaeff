"""The order in which `build-engine --auto` tries to pass the gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jetseg.engine.build_config import BuildConfig, BuildResult
from jetseg.engine.float_cost import gain_per_ms
from jetseg.quantization.observe.range_estimators import Method

_METHODS: tuple[Method, ...] = ("mse", "percentile")
_FLOAT_LAYERS = (1, 2, 4, 8, 16)
MOST_FLOAT_LAYERS = _FLOAT_LAYERS[-1]
"""So many of the most harmful layers may go back to float."""


@dataclass
class Attempt:
    """One way to build; `failed` is told what came of it, so that the next one can do better."""

    name: str
    config: BuildConfig
    last: BuildResult | None = None

    def failed(self, result: BuildResult) -> None:
        """Remembers a rejected engine."""
        self.last = result


def ranges_beside(engine: Path, config: BuildConfig) -> Path:
    """Returns where the ranges of a calibration during the build are kept; attempts do not overwrite each other's."""
    marker = f".{config.method}" if config.auto else ""
    return engine.with_name(f"{engine.name}{marker}.ranges.json")


def attempts(config: BuildConfig, engine: Path) -> Iterator[Attempt]:
    """Yields what to try, in order of what the engine's speed and the build cost."""
    first = Attempt("as asked", config)
    yield first
    if not config.auto or config.precision != "int8":
        return
    best = first
    for method in _METHODS:
        anew = config.model_copy(update={"calibration": None, "method": method, "preset": "accurate"})
        if anew == config:
            continue
        attempt = Attempt(f"calibrated anew, {method}", anew)
        yield attempt
        best = min(best, attempt, key=lambda tried: tried.last.loss if tried.last else float("inf"))
    worst = best.last.guilty[:MOST_FLOAT_LAYERS] if best.last else ()
    guilty = [effect.layer for effect in sorted(worst, key=gain_per_ms, reverse=True)]
    calibration = best.config.calibration or ranges_beside(engine, best.config)
    for count in _FLOAT_LAYERS:
        kept = tuple(dict.fromkeys((*config.keep_float, *guilty[:count])))
        partly = best.config.model_copy(update={"keep_float": kept, "calibration": calibration})
        yield Attempt(f"{count} layers in float", partly)
        if count >= len(guilty):
            return
