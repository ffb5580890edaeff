"""Chains: what is put together, and in which order it is recommended."""

import pytest

from jetseg.advice.chains import AS_IT_IS, Chain, leaders, make_chains, rank
from jetseg.advice.config import AdviseConfig
from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan

INT8, HALF_WIDTH, WIDE = Plan(precision="int8"), Plan(prune_ratio=0.5), Plan(prune_ratio=0.25)


def option(plan, speedup, drop, hours=0.0, drop_from="measured"):
    return Option(plan, speedup, drop, hours, "measured", drop_from, "a test")


def findings(*options):
    return [Finding(" ".join(one.plan.techniques), (one,)) for one in options]


def chain(plan, speedup, drop, hours=0.0):
    return Chain(plan, speedup, drop, hours)


def names(chains):
    return [str(one.plan) for one in chains]


def test_a_chain_multiplies_speeds_adds_losses_and_is_as_sure_as_its_least_sure_part():
    made = make_chains(findings(option(HALF_WIDTH, 2.0, 0.5, 3.0, "predicted"), option(INT8, 1.5, 0.25)))
    (both,) = [one for one in made if one.plan.techniques == ("pruning", "int8")]
    assert (both.speedup, both.expected_drop, both.hours, both.confidence) == (3.0, 0.75, 3.0, "medium")
    assert len(made) == 4
    assert AS_IT_IS in made


def test_each_technique_is_used_once_in_a_chain():
    finding = Finding("pruning", (option(WIDE, 1.5, 0.1), option(HALF_WIDTH, 2.0, 0.5)))
    assert {one.plan for one in make_chains([finding])} == {Plan(), WIDE, HALF_WIDTH}


@pytest.mark.parametrize(
    "useless",
    [option(INT8, 1.01, 0.0), option(INT8, None, 0.0), option(INT8, 2.0, None)],
    ids=["no gain", "speed not known", "loss not known"],
)
def test_what_gains_nothing_or_is_not_known_is_in_no_chain(useless):
    assert make_chains(findings(useless)) == [AS_IT_IS]


def test_a_technique_that_only_wins_accuracy_is_in_chains():
    made = make_chains(findings(option(Plan(distilled=True), 1.0, -1.0, 2.0)))
    assert [one.expected_drop for one in made] == [0.0, -1.0]


def test_a_gain_of_what_can_only_lose_is_noise():
    made = make_chains(findings(option(Plan(precision="int8"), 2.0, -0.4, 0.0)))
    assert [one.expected_drop for one in made] == [0.0, 0.0]


def test_without_a_budget_the_fastest_chain_that_loses_little_comes_first():
    ranked = rank([AS_IT_IS, chain(HALF_WIDTH, 3.0, 1.5), chain(INT8, 2.0, 0.9)], AdviseConfig(max_drop=1.0), 10.0)
    assert names(ranked) == ["int8", "as it is, fp32", "50 % of the channels pruned"]


def test_with_a_budget_the_chain_that_reaches_it_and_loses_least_comes_first():
    chains = [AS_IT_IS, chain(HALF_WIDTH, 3.0, 0.8), chain(INT8, 2.5, 0.3), chain(WIDE, 1.5, 0.1)]
    ranked = rank(chains, AdviseConfig(max_drop=1.0, budget_ms=4.0), 10.0)
    assert names(ranked)[:2] == ["int8", "50 % of the channels pruned"]


def test_when_no_chain_reaches_the_budget_the_one_nearest_to_it_comes_first():
    ranked = rank([AS_IT_IS, chain(INT8, 2.0, 0.0)], AdviseConfig(budget_ms=1.0), 10.0)
    assert names(ranked) == ["int8", "as it is, fp32"]


def test_of_chains_as_fast_as_each_other_the_cheaper_comes_first():
    costly, cheap = chain(HALF_WIDTH, 2.0, 0.0, hours=5.0), chain(INT8, 1.99, 0.2)
    assert names(rank([costly, cheap], AdviseConfig(), 10.0))[0] == "int8"


def test_leaders_are_the_best_chain_of_each_set_of_techniques():
    ranked = rank([chain(WIDE, 1.5, 0.1), chain(HALF_WIDTH, 2.0, 0.5), AS_IT_IS], AdviseConfig(), 10.0)
    assert names(leaders(ranked, 5)) == ["50 % of the channels pruned", "as it is, fp32"]


def test_of_two_ways_to_the_same_plan_the_less_certain_figures_count():
    other = Plan(instead="tiny")
    both = other.joined(INT8)
    lighter = Finding("lighter network", (option(other, 2.0, 0.5), option(both, 2.5, 0.7, drop_from="predicted")))
    for order in ([lighter, *findings(option(INT8, 1.5, 0.1))], [*findings(option(INT8, 1.5, 0.1)), lighter]):
        (found,) = [one for one in make_chains(order) if one.plan == both]
        assert (found.speedup, found.expected_drop, found.confidence) == (2.5, 0.7, "medium")
