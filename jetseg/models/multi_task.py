"""One encoder for several tasks, with a head for each: segmentation, masks and depth in one inference."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from jetseg.models.layers import ConvBNReLU, initialize_, resize_like, scaled
from jetseg.models.tiny import TinyEncoder, add_pyramid_, merge_scales


class MultiTask(TinyEncoder):
    """The encoder of `jetseg.models.tiny.Tiny` and its pyramid, shared, and at half resolution a head for each task.

    A head is a 3x3 convolution of its own and the scores. A decoder per task would add up the scales for each of them,
    which takes longer than the head. A task with one channel of scores gets half as many features as one with more.

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
        add_pyramid_(self, width)
        self._alone = heads is None
        self.heads = nn.ModuleDict(
            {
                name: _head(width, channels)
                for name, channels in ({"alone": num_classes} if heads is None else heads).items()
            }
        )
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Returns scores by task, each N x channels x H x W, for an input N x in_channels x H x W of any size.

        Of one task without a name, its scores alone.
        """
        merged = merge_scales(self, self.features(x))
        scores = {name: resize_like(head(merged), x) for name, head in self.heads.items()}
        return scores["alone"] if self._alone else scores


def _head(width: int, channels: int) -> nn.Sequential:
    features = width if channels > 1 else scaled(width, 0.5)
    return nn.Sequential(ConvBNReLU(width, features), nn.Conv2d(features, channels, 1))
