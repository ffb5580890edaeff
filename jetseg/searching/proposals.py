"""What a trial tries: the usual things first, then what Optuna proposes from all that is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from jetseg.searching.entries import Entry
from jetseg.searching.facts import Facts
from jetseg.searching.optuna_library import DIRECTIONS, distributions_of, optuna
from jetseg.searching.ranking import excess
from jetseg.searching.space import Params, Space, Value, usual_of

_FIRST_SCALES = (1.0, 0.75, 0.875)
"""Scales of the input of the first trials, which are usual in all else: smaller inputs are often the cheapest gain."""
_STARTUP = 8
"""Trials before the sampler's model is of use; until then choices are random."""
_OVER_BUDGET = 1000.0
"""Points of mIoU that a trial counts less for each time that it is over the budget."""


def propose(entries: Sequence[Entry], entry: Entry, space: Space, facts: Facts) -> dict[str, Value]:
    """Returns what a trial tries.

    A random proposal depends on the seed and the trial's slot alone, so it is the same on whatever worker.

    Args:
        entries: All trials; TPE (Bergstra et al., 2011) learns from each of them by its newest score, those that were
            pruned included. Trials that are running count as bad ones, so that workers do not all try the same.
        entry: The trial.
        space: What is chosen from.
        facts: What holds for the search.
    """
    usual = usual_of(space)
    first = [usual | {"input_scale": scale} for scale in _FIRST_SCALES] if "input_scale" in space else [usual]
    if entry.slot < len(first):
        return first[entry.slot]
    objectives = _objectives if facts.budget_ms is None else _one_objective
    study = _learned(entries, space, facts, objectives, seed=1_000_003 * facts.config.seed + entry.slot)
    return study.ask(distributions_of(space)).params


def importances(entries: Sequence[Entry], space: Space, facts: Facts) -> dict[str, float]:
    """Returns how much each choice decides about mIoU, the most important first; they add up to 1.

    The method is PED-ANOVA (Watanabe et al., arXiv:2304.10255). Empty where there is too little to tell from.
    """
    study = _learned(entries, space, facts, _one_objective)
    if len({trial.value for trial in study.trials if trial.values}) < _STARTUP or not space:
        return {}
    return optuna.importance.get_param_importances(study)


def _learned(
    entries: Sequence[Entry],
    space: Space,
    facts: Facts,
    objectives: Callable[[Entry, Facts], list[float]],
    seed: int = 0,
) -> optuna.Study:
    """Returns a study in memory that knows what all trials came to, each by its newest score.

    Optuna learns nothing from pruned trials of several objectives, and most trials are pruned here. The higher rungs
    have the higher mIoU, so who got further counts for better.
    """
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP, multivariate=True)
    directions = DIRECTIONS[:1] if objectives is _one_objective else DIRECTIONS
    study = optuna.create_study(directions=directions, sampler=sampler)
    distributions = distributions_of(space)
    for entry in entries:
        if entry.lost or set(entry.params) != set(space):
            continue
        known = partial(optuna.trial.create_trial, params=dict(entry.params), distributions=distributions)
        if entry.scores:
            study.add_trial(known(values=objectives(entry, facts)))
        elif entry.state == "running":
            study.add_trial(known(state=optuna.trial.TrialState.RUNNING))
    return study


def chosen(entry: Entry, fixed: Params) -> dict[str, Value]:
    """Returns all choices of a trial, those that were fixed included."""
    return {**entry.params, **fixed}


def _objectives(entry: Entry, facts: Facts) -> list[float]:  # noqa: ARG001 - as the other one
    """Returns what `jetseg.searching.ranking.beats` compares."""
    score = entry.scores[-1]
    return [score.miou, score.latency_ms, float(score.size_bytes)]


def _one_objective(entry: Entry, facts: Facts) -> list[float]:
    """Returns mIoU, less what a latency over the budget costs."""
    score = entry.scores[-1]
    return [score.miou - _OVER_BUDGET * excess(score, facts)]
