"""Structured pruning in one call."""

from jetseg.compress.structured import Pruner, choose_counts


def prune_structured(module, settings, example_input, make_importance):
    """Returns a smaller copy of a network and what happened to each layer."""
    pruner = Pruner(module, settings.keep, example_input, make_importance)
    return pruner.prune(choose_counts(pruner.groups, settings), settings.round_to)
