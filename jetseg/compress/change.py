"""What pruning did to one layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerChange:
    """One row of the table that pruning prints.

    Attributes:
        name: Name of the layer in the module.
        before: Output channels before (structured), or weights (unstructured).
        after: Output channels after (structured), or weights that are not zero (unstructured).
        note: Why a layer was kept or has an uneven number of channels; empty otherwise.
    """

    name: str
    before: int
    after: int
    note: str = ""
