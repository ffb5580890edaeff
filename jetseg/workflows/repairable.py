"""Of which children a repair can be tried."""

from __future__ import annotations

from collections.abc import Sequence

from jetseg.errors import ConfigError
from jetseg.explanation.causes.search import graph_of, is_quantized
from jetseg.report.rows import Entry


def check_repairable(parent: Entry, children: Sequence[Entry]) -> None:
    """Refuses to try repairs of a child of which none can be tried, before minutes are spent on it.

    Raises:
        ConfigError: It is neither a pruned checkpoint of a checkpoint, nor quantized from a float network.
    """
    for child in children:
        pruned = any(stage.name == "prune" for stage in child.manifest.stages)
        if child.manifest.kind == "checkpoint":
            fits = pruned and parent.manifest.kind == "checkpoint"
            wanted = "a checkpoint that was pruned, beside the checkpoint that it was pruned from"
        else:
            graph, dense = graph_of(child), graph_of(parent)
            fits = graph is not None and is_quantized(graph) and dense is not None and not is_quantized(dense)
            wanted = "an ONNX file or an engine of ONNX Runtime with quantizers, beside its float network"
        if not fits:
            raise ConfigError(
                f"`repair`: no repair of {child.path.name} can be tried: that takes {wanted}.",
                "Leave `repair` out: what to do is proposed all the same.",
            )
