"""Lets criteria read a group as they did until 0.2: as a list of items of Torch-Pruning.

Goes in 0.4; see docs/deprecations.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

if TYPE_CHECKING:
    from jetseg.compress.groups import Slices

logger = logging.getLogger(__name__)
_told: list[bool] = []


class TorchPruningGroup:
    """The old face of a group: `group[0].dep.target.module`, `item.dep.handler`, `item.idxs`, `item.root_idxs`."""

    root: str
    slices: tuple[Slices, ...]

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        return self._items()[index]

    def _items(self) -> Sequence[Any]:
        if not _told:
            _told.append(True)
            logger.warning(
                "A criterion reads its group as a list of Torch-Pruning's items, which ends with jetseg 0.4; "
                "use `group.slices` instead."
            )
        parts = [part for part in self.slices if part.name.endswith("weight")]
        parts.sort(key=lambda part: part.reads or part.name != f"{self.root}.weight")
        return [_item(part) for part in parts]


def _item(part: Slices) -> Any:  # noqa: ANN401
    units, width = part.indices.shape
    target = SimpleNamespace(module=part.layer, name=part.name.rpartition(".")[0])
    dep = SimpleNamespace(target=target, layer=part.layer, handler=_handler(part), pruning_fn=_handler(part))
    root_indices = [unit for unit in range(units) for _ in range(width)]
    return SimpleNamespace(dep=dep, idxs=part.indices.flatten().tolist(), root_idxs=root_indices)


def _handler(part: Slices) -> Any:  # noqa: ANN401
    """Returns Torch-Pruning's function that removes the slices, where it is installed."""
    kind = "conv" if isinstance(part.layer, _ConvNd) else "linear" if isinstance(part.layer, nn.Linear) else ""
    side = "in" if part.reads else "out"
    name = f"prune_{kind}_{side}_channels" if kind else "prune_batchnorm_out_channels"
    try:
        import torch_pruning
    except ImportError:
        return SimpleNamespace(__name__=name)
    return (
        getattr(torch_pruning, name) if kind or isinstance(part.layer, _BatchNorm) else SimpleNamespace(__name__=name)
    )
