"""What a build tries next when an engine failed the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jetseg.config import changed
from jetseg.engine.config import BuildConfig
from jetseg.engine.mixtures import Mixture
from jetseg.engine.result import BuildResult
from jetseg.quantization.config import Method
from jetseg.quantization.ranges import Ranges

_METHODS: tuple[Method, ...] = ("mse", "percentile")
_MOST_TRIES = 6
"""So often layers may go back to float, or some of them to 8 bits again."""


@dataclass
class Attempt:
    """One way to build; `result` is told what came of it, so that the next one can do better.

    Attributes:
        name: What is done.
        config: Settings to build with.
        ranges: Ranges to build from.
        result: What came of it.
        in_float: Whether nodes are in float for accuracy that were not asked for.
    """

    name: str
    config: BuildConfig
    ranges: Ranges | None
    result: BuildResult | None = None
    in_float: bool = False

    @property
    def made(self) -> BuildResult:
        """What came of an attempt that was made."""
        if self.result is None:
            raise RuntimeError(f"The attempt {self.name} was not made.")
        return self.result


def attempts(
    config: BuildConfig,
    ranges: Ranges | None = None,
    calibrate: Callable[[BuildConfig], Ranges] | None = None,
    *,
    calibrated: bool = False,
    plain: BuildConfig | None = None,
    mixtures: Callable[[Attempt], Sequence[Mixture]] = lambda _: (),
) -> Iterator[Attempt]:
    """Yields what to try, in order of what the engine's speed and the build cost; the last that passes is the best.

    Args:
        config: As asked.
        ranges: The ranges to begin with; there for int8.
        calibrate: Calibrates anew with other settings; there for int8.
        calibrated: Whether `ranges` were calibrated with the settings of `config`.
        plain: The settings with all on integers that can be, where `ranges` were made for that and it is fast, too.
        mixtures: Returns what an attempt may have in float beside what it has, the fastest mixture first, the most
            accurate one last.
    """
    first = Attempt("as asked", config, ranges)
    yield first
    best = first
    if plain is not None and not _passed(first):
        best = Attempt("all on integers", plain, ranges)
        yield best
    if not config.auto or ranges is None or calibrate is None or _passed(best):
        return
    for method in _METHODS:
        if calibrated and (method, "accurate") == (config.method, config.preset):
            continue
        anew = changed(config, method=method, preset="accurate")
        attempt = Attempt(f"calibrated anew, {method}", anew, calibrate(anew))
        yield attempt
        if _passed(attempt):
            return
        best = min(best, attempt, key=lambda tried: tried.result.loss if tried.result else float("inf"))
    yield from _in_float(best, calibrate, mixtures(best))


def _passed(attempt: Attempt) -> bool:
    return attempt.result is not None and not attempt.result.violations


def _in_float(
    best: Attempt, calibrate: Callable[[BuildConfig], Ranges], mixtures: Sequence[Mixture]
) -> Iterator[Attempt]:
    """Yields attempts with layers in float, until the fastest mixture is found that passes.

    What mixtures lose is foretold from single quantizers, which tells where to begin. Each attempt is calibrated for
    what it has in float: the corrections of one make up for what all that is on integers loses, and would be wrong
    where nothing is lost.
    """
    allowed = 100.0 - best.config.min_agreement
    too_few, enough, scale = -1, len(mixtures), 1.0
    for _ in range(_MOST_TRIES):
        if enough - too_few < 2:
            return
        foretold = next((place for place, found in enumerate(mixtures) if scale * found.loss <= allowed), enough)
        place = min(max(too_few + 1, foretold), enough - 1)
        names = tuple(dict.fromkeys((*best.config.keep_float, *sorted(mixtures[place].in_float))))
        config = changed(best.config, keep_float=names)
        attempt = Attempt(f"{len(names)} nodes in float", config, calibrate(config), in_float=True)
        yield attempt
        too_few, enough = (too_few, place) if _passed(attempt) else (place, enough)
        agreement = attempt.made.agreement
        if agreement is not None and mixtures[place].loss:
            scale = (100.0 - agreement.percent) / mixtures[place].loss
