"""module_cost counts what runs in eval mode."""

from jetseg.models import create_model
from jetseg.models.cost import module_cost


def test_auxiliary_head_is_free():
    shape = (1, 3, 64, 64)
    with_head = create_model("ddrnet-23-slim", 4, width=8, auxiliary=True).eval()
    without = create_model("ddrnet-23-slim", 4, width=8, auxiliary=False).eval()
    assert module_cost(with_head, shape) == module_cost(without, shape)
    held = sum(parameter.numel() for parameter in without.parameters())
    assert module_cost(without, shape).parameters == held
