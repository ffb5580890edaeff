"""What each group of coupled layers loses when it alone is thinned."""

from __future__ import annotations

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import nn

from jetseg.advice.frames import batches_of
from jetseg.advice.workbench import Workbench
from jetseg.compress.batch_norms import reestimate_
from jetseg.compress.channels.tracing import trace_channels
from jetseg.compress.groups import PruningGroup, find_groups
from jetseg.compress.importance import Magnitude, Subject
from jetseg.models.copying import copied
from jetseg.postprocess import score_threshold

_FRAMES = 8


class GroupSensitivity:
    """Sets the least important channels of one group to zero, and counts the pixels that change their class.

    Zeros stand for removal: what reads them is not resized, so no proof by value is needed. Batch norms are estimated
    anew each time.

    Attributes:
        groups: Layers that can only be pruned together, each as one.
    """

    def __init__(self, bench: Workbench) -> None:
        self._module = copied(bench.module).eval()
        self._images = batches_of(bench, bench.config.eval_split, _FRAMES)
        trace = trace_channels(self._module, self._images[0][:1])
        self.groups, _ = find_groups(self._module, trace, ())
        self._threshold = score_threshold(bench.manifest.output)
        self._score = Magnitude().channel_importance(Subject(self._module))
        self._before = self._classes(copied(self._module))

    def changed(self, group: PruningGroup, ratio: float) -> float:
        """Returns the pixels that change their class without a fraction of a group's channels, in percent."""
        scores = self._score(group)
        if scores is None:
            return 0.0
        gone = torch.argsort(scores, stable=True)[: int(ratio * group.size)]
        thinned = copied(self._module)
        with torch.no_grad():
            for part in group.slices:
                if not part.reads and part.name.rpartition(".")[2] in _MADE:
                    thinned.get_parameter(part.name).index_fill_(part.axis, part.indices[gone].flatten(), 0.0)
        return 100 * float((self._before != self._classes(thinned)).float().mean())

    def _classes(self, module: nn.Module) -> torch.Tensor:
        """Returns what a network says once its batch norms are estimated anew, in place."""
        reestimate_(module, self._images)
        with torch.no_grad():
            logits = torch.cat([module(images) for images in self._images])
        return logits.argmax(1) if self._threshold is None else logits[:, 0] > self._threshold


_MADE = ("weight", "bias", "in_proj_weight", "in_proj_bias")
"""Parameters whose zeros make a channel vanish."""
