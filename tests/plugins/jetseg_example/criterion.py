"""A pruning criterion: a channel whose weights hardly differ matters little."""

from torch.nn.modules.conv import _ConvNd

from jetseg.compress.importance import Criterion


class Spread(Criterion):
    """The standard deviation of the weights that make a channel."""

    def channel_importance(self, subject):
        """Scores a group by the layer that its channels are counted at."""
        del subject
        return self._spread

    def _spread(self, group):
        made = group.slices[0]
        if not isinstance(made.layer, _ConvNd):
            return None
        return made.per_unit(made.tensor.detach().flatten(1).std(dim=1))
