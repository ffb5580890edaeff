"""Puts techniques together into chains, and ranks these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from jetseg.advice.config import AdviseConfig
from jetseg.advice.finding import Basis, Confidence, Finding, Option, confidence_in, doubt, weakest
from jetseg.advice.plan import Plan
from jetseg.advice.stopwatch import Comparison

_NOTICED = 1.05
"""A technique that is less of a gain than that, and wins no accuracy, is in no chain."""
_SAME_SPEED = math.log(1.05)
"""Chains whose speeds differ by less are ranked by what they cost and lose."""


@dataclass(frozen=True)
class Chain:
    """Techniques together.

    Attributes:
        plan: What is done.
        speedup: How many times as fast as the float network.
        expected_drop: Points of mIoU that are expected to be lost: the sum over its techniques.
        hours: What it costs on this machine.
        speedup_from: What the speedup rests on: the weakest of its techniques'.
        drop_from: What the expected drop rests on, likewise.
        speed: Its latency as a whole, measured or predicted; without, the speedup is the product over its techniques.
    """

    plan: Plan
    speedup: float
    expected_drop: float
    hours: float
    speedup_from: Basis = "measured"
    drop_from: Basis = "measured"
    speed: Comparison | None = None

    @property
    def confidence(self) -> Confidence:
        """How far to trust the two figures."""
        return confidence_in(self.speedup_from, self.drop_from)

    @property
    def told_drop(self) -> str:
        """The expected drop in words.

        >>> Chain(Plan(), 1.0, 0.5, 0.0).told_drop, Chain(Plan(), 1.0, -2.0, 0.0, drop_from="prior").told_drop
        ('0.50 points of mIoU lost (measured)', '2.00 points of mIoU gained (prior)')
        """
        what = "gained" if self.expected_drop < 0 else "lost"
        return f"{abs(self.expected_drop):.2f} points of mIoU {what} ({self.drop_from})"

    def as_whole(self, speed: Comparison, basis: Basis) -> Chain:
        """Returns the chain with its own speed, found for it as a whole."""
        return replace(self, speedup=speed.speedup, speedup_from=basis, speed=speed)


AS_IT_IS = Chain(Plan(), 1.0, 0.0, 0.0)


def make_chains(findings: Iterable[Finding]) -> list[Chain]:
    """Returns every chain of at most one way to use each technique, the network as it is among them."""
    chains = [AS_IT_IS]
    for finding in findings:
        useful = [option for option in finding.options if option.usable and _pays(option)]
        chains += [longer for chain in chains for option in useful if (longer := _extended(chain, option)) is not None]
    # of two ways to the same plan, the less certain figures count
    by_doubt = sorted(chains, key=lambda chain: doubt(chain.speedup_from, chain.drop_from))
    return list({chain.plan: chain for chain in by_doubt}.values())


def rank(chains: Iterable[Chain], config: AdviseConfig, float_ms: float) -> list[Chain]:
    """Sorts chains, the one to be recommended first.

    Those come first that lose at most `max_drop` and, if there is one, reach the latency of the budget. With a budget
    these are sorted by what they lose, without one by their speed; the others by how far they miss.

    >>> fast = Chain(Plan(precision="int8"), 2.0, 0.2, 0.0)
    >>> small = Chain(Plan(energy=0.9), 3.0, 4.0, 1.0)
    >>> [str(chain.plan) for chain in rank([AS_IT_IS, small, fast], AdviseConfig(), 10.0)]
    ['int8', 'as it is, fp32', 'low rank at 90 % of the energy']
    """

    def place(chain: Chain) -> tuple[float, ...]:
        late = 0.0 if config.budget_ms is None else max(0.0, float_ms / chain.speedup / config.budget_ms - 1)
        missed = max(0.0, chain.expected_drop - config.max_drop)
        speed = -round(math.log(chain.speedup) / _SAME_SPEED)
        if late or missed:
            return (1.0, missed + 10 * late, speed)
        if config.budget_ms is not None:
            return (0.0, round(chain.expected_drop, 1), chain.hours, -chain.speedup)
        return (0.0, speed, chain.hours, chain.expected_drop)

    return sorted(chains, key=place)


def leaders(ranked: Sequence[Chain], count: int) -> list[Chain]:
    """Returns the best chain of each set of techniques, the first so many."""
    best = {chain.plan.techniques: chain for chain in reversed(ranked)}
    return [chain for chain in ranked if best[chain.plan.techniques] is chain][:count]


def _pays(option: Option) -> bool:
    return (option.speedup or 1.0) >= _NOTICED or _counted_drop(option) < 0 or option.plan.qat


def _extended(chain: Chain, option: Option) -> Chain | None:
    plan = chain.plan.joined(option.plan)
    if plan is None:
        return None
    return Chain(
        plan,
        chain.speedup * (option.speedup or 1.0),
        chain.expected_drop + _counted_drop(option),
        max(chain.hours, option.hours),
        weakest(chain.speedup_from, option.speedup_from),
        weakest(chain.drop_from, option.drop_from),
    )


def _counted_drop(option: Option) -> float:
    """Returns what a technique adds to a chain's loss; what cannot gain accuracy has gained noise of a few frames."""
    drop = option.expected_drop or 0.0
    return drop if option.plan.distilled or option.plan.instead else max(0.0, drop)
