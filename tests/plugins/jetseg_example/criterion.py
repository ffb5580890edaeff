"""A pruning criterion: a channel whose weights hardly differ matters little."""

from torch.nn.modules.conv import _ConvNd

from jetseg.compress.importance import Criterion


class Spread(Criterion):
    """The standard deviation of the weights that make a channel."""

    def channel_importance(self, subject):
        """Scores a group by the layer that its channels are counted at."""
        del subject
        return lambda group: self._spread(group[0].dep.target.module)

    def _spread(self, layer):
        return layer.weight.detach().flatten(1).std(dim=1) if isinstance(layer, _ConvNd) else None
