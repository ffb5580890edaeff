"""The network of `colored` in torch, so that it can be pruned."""

from colored import CHANNELS, CLASSES, manifest, weights
from torch import from_numpy, nn

from jetseg.manifest import ModelSpec

FACTORY = "colored_torch:colored_network"


def colored_network(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Builds the network without its weights."""
    network = nn.Sequential()
    network.add_module("detect", nn.Conv2d(in_channels, CHANNELS, 1))
    network.add_module("relu", nn.ReLU())
    network.add_module("decide", nn.Conv2d(CHANNELS, num_classes, 1))
    return network


def trained() -> nn.Module:
    """Builds the network with its weights."""
    network = colored_network(len(CLASSES))
    state = {name.removeprefix("network."): from_numpy(value).float() for name, value in weights().items()}
    network.load_state_dict(state)
    return network.eval()


def checkpoint_manifest():
    """The manifest of a checkpoint of it."""
    return manifest().changed(kind="checkpoint", model=ModelSpec(factory=FACTORY))
