"""Plans: which techniques go together."""

import pytest

from jetseg.advice.plan import Plan

INT8 = Plan(precision="int8")


def test_techniques_of_one_chain_are_named_in_the_order_of_the_work():
    plan = Plan(prune_ratio=0.5).joined(INT8).joined(Plan(size=(96, 128)))
    assert plan.techniques == ("pruning", "input size", "int8")
    assert str(plan) == "50 % of the channels pruned + input 128x96 + int8"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (INT8, Plan(precision="fp16")),
        (Plan(size=(96, 128)), Plan(size=(48, 64))),
        (Plan(instead="tiny"), Plan(prune_ratio=0.5)),
        (Plan(instead="tiny"), Plan(size=(48, 64))),
        (Plan(stride=8), Plan(instead="tiny")),
    ],
)
def test_what_excludes_each_other_is_not_joined(one, other):
    assert one.joined(other) is None
    assert other.joined(one) is None


def test_another_network_goes_with_int8():
    assert Plan(instead="tiny").joined(INT8) == Plan(instead="tiny", precision="int8")


def test_only_what_changes_weights_trains():
    assert Plan(prune_ratio=0.5).trains
    assert not Plan(size=(48, 64), stride=8, precision="int8").trains
