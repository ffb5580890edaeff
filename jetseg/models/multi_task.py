"""One encoder for several tasks, with a decoder for each: segmentation, masks and depth in one inference."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from jetseg.models.layers import initialize_, resize_like
from jetseg.models.tiny import TinyEncoder, add_decoder_, decode


class MultiTask(TinyEncoder):
    """The encoder of `jetseg.models.tiny.Tiny`, shared, and one of its decoders per task.

    Args:
        num_classes: Channels of the one task, where `heads` is not given.
        in_channels: Channels of the input.
        heads: Channels of each task's scores, by name, the main one first.
        width: Channels at half resolution, as of `Tiny`.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, heads: Mapping[str, int] | None = None, width: int = 16
    ) -> None:
        super().__init__(in_channels, width)
        self.heads = nn.ModuleDict()
        self._alone = heads is None
        for name, channels in ({"alone": num_classes} if heads is None else heads).items():
            head = nn.Module()
            add_decoder_(head, width, channels)
            self.heads[name] = head
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Returns scores by task, each N x channels x H x W, for an input N x in_channels x H x W of any size.

        Of one task without a name, its scores alone.
        """
        features = self.features(x)
        scores = {name: resize_like(decode(head, features), x) for name, head in self.heads.items()}
        return scores["alone"] if self._alone else scores
