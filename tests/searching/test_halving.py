"""Which trial comes next: lower rungs first, the leading ones further, and each rung within its share of the time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cheap_search import cheap_facts

from jetseg.searching.entries import Entry, Score, seconds_worked
from jetseg.searching.findings import count, find
from jetseg.searching.halving import epochs_for, leaders, next_step
from jetseg.searching.ranking import admitted, ranked


def score(miou: float, latency_ms: float = 4.0, began: float = 0.0, ended: float = 0.0, **more: object) -> Score:
    return Score(miou=miou, latency_ms=latency_ms, size_bytes=1, began=began, ended=ended, **more)


def entry(slot: int, *scores: Score, state: str = "waiting", epochs: tuple[int, ...] = ()) -> Entry:
    return Entry(slot, slot, state, scores=scores, epochs=epochs)


def test_all_are_probed_then_one_in_three_goes_on_then_one_in_nine():
    probed = [entry(slot, score(slot)) for slot in range(8)]
    assert next_step([*probed, entry(8)], cheap_facts()).entry.slot == 8, "probes come first"
    probed.append(entry(8, score(8)))
    assert [one.slot for one in leaders(probed, cheap_facts(), 1)] == [8, 7, 6]
    assert next_step(probed, cheap_facts()).entry.slot == 6, "of the leading ones the first"
    short = [*probed[:6], *(entry(slot, score(slot), score(20 - slot)) for slot in (6, 7, 8))]
    assert next_step(short, cheap_facts()).entry.slot == 6, "by its newest score it leads"
    done = [replace(one, state="complete", scores=(*one.scores, score(30))) if one.slot == 6 else one for one in short]
    step = next_step(done, cheap_facts())
    assert (step.kind, len(step.rest)) == ("drop", 8)


def test_nobody_drops_anything_while_others_work():
    entries = [entry(0, score(1)), entry(1, score(2), score(2), score(2), state="complete"), entry(2, state="running")]
    assert next_step(entries, cheap_facts()).kind == "wait"


def test_a_trial_whose_worker_died_after_its_last_score_is_ended():
    step = next_step([entry(0, score(1), score(2), score(3))], cheap_facts())
    assert (step.kind, step.entry.has_all) == ("work", True)


def test_within_a_budget_what_is_over_it_comes_last_and_rejected_engines_behind():
    entries = [entry(0, score(90, 5.5)), entry(1, score(50)), entry(2, score(99, passed=False)), entry(3, score(60))]
    assert [one.slot for one in ranked(entries, cheap_facts(), 0)] == [3, 1, 0, 2]


def test_without_a_budget_the_front_comes_first():
    entries = [entry(0, score(50, 5)), entry(1, score(60, 4)), entry(2, score(40, 2)), entry(3, score(45, 4.5))]
    assert [one.slot for one in ranked(entries, cheap_facts(budget_ratio=None), 0)] == [1, 2, 0, 3]


def test_without_a_budget_a_smaller_engine_beats_its_equal_as_on_the_front_that_is_told():
    large, small = (score(50, engine="e").model_copy(update={"size_bytes": size}) for size in (2, 1))
    entries, facts = [entry(0, large), entry(1, small)], cheap_facts(budget_ratio=None)
    assert [one.slot for one in ranked(entries, facts, 0)] == [1, 0]
    assert [one.trial for one in find(entries, {}, {}, facts).front] == [1]
    assert [one.slot for one, _ in admitted(entries, facts)] == [1, 0]


def test_if_the_leading_engine_is_rejected_the_next_one_has_its_turn():
    best = entry(0, score(9), score(9), score(9, passed=False), state="pruned")
    step = next_step([best, entry(1, score(8), score(8)), entry(2, score(1))], cheap_facts())
    assert (step.kind, step.entry.slot) == ("work", 1)


def test_trainings_fit_into_the_time():
    facts = cheap_facts(minutes=10, reduction=3)
    probed = [
        entry(slot, score(slot, began=30 * slot, ended=30 * slot + 30, epoch_seconds=10), epochs=(1,))
        for slot in range(3)
    ]
    fresh = entry(3)
    assert next_step([*probed, fresh], facts).entry is fresh, "90 s of 120"
    probed.append(entry(3, score(0, began=90, ended=130, epoch_seconds=10), epochs=(1,)))
    step = next_step([*probed, entry(4)], facts)
    assert step.entry.slot == 2, "the time for probes is over"
    assert step.epochs == 10, "0.95 x 270 s less 130 s are left; less 22.5 s beside the training, at 10 s each"
    led = replace(
        probed[2], scores=(probed[2].scores[0], score(5, began=130, ended=250, epoch_seconds=10)), epochs=(1, 10)
    )
    last = epochs_for(led, [*probed[:2], led, probed[3]], facts)
    assert last == 30, "0.95 x 600 s less 250 s are left; less 20 s beside the training"


def test_what_is_over_time_is_not_begun_but_there_is_always_a_result():
    facts = cheap_facts(minutes=1)
    slow = entry(0, score(5, began=0, ended=400, epoch_seconds=10), epochs=(1,))
    step = next_step([slow, replace(slow, number=1, slot=1), replace(slow, number=2, slot=2), entry(3)], facts)
    assert (step.entry.rung, step.epochs) == (1, 1)


def test_choices_of_how_long_are_kept():
    assert epochs_for(entry(0, score(1), epochs=(1, 7)), [], cheap_facts()) == 7


@pytest.mark.parametrize(
    ("settings", "slots"), [({"budget_ratio": 0.5}, [1, 2]), ({"budget_ratio": None, "max_drop": 5}, [1, 3])]
)
def test_the_best_engine_is_the_most_accurate_or_with_a_bound_for_accuracy_alone_the_fastest(settings, slots):
    made = [
        entry(slot, score(1), score(miou, ms, engine="e"))
        for slot, miou, ms in ((1, 58, 4.0), (2, 50, 3.0), (3, 59, 5.5))
    ]
    assert [one.slot for one, _ in admitted(made, cheap_facts(**settings))] == slots


def test_a_trial_that_was_begun_twice_counts_once():
    dead = replace(entry(0, state="failed"), lost=True)
    entries = [dead, replace(entry(0, state="complete"), number=9), entry(1, state="pruned"), replace(dead, slot=2)]
    counts = count(entries)
    assert (counts.complete, counts.pruned, counts.failed, counts.waiting) == (1, 1, 1, 0)


def test_time_of_trials_that_came_to_nothing_counts():
    assert seconds_worked([entry(0, score(1, began=0, ended=10)), replace(entry(1), wasted=(5.0, 30.0))]) == 30
