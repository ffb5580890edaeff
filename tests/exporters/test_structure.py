"""One run of torch's exporter makes the files of all networks of a structure."""

import onnx
import pytest
import torch
from torch import nn

from jetseg.compress.structured import Pruner, PruneSettings, choose_counts
from jetseg.exporters import structure
from jetseg.exporters.onnx_export import export_module
from jetseg.exporters.structure import NetworkStructure
from jetseg.models import create_model
from jetseg.onnx.session import make_session, run_session

SMALL = {
    "fast-scnn": {"width": 0.5},
    "ddrnet-23-slim": {"width": 16},
    "unet": {"width": 16, "depth": 3},
    "tiny": {"width": 16},
}
EXAMPLE = torch.zeros(1, 3, 64, 96)


@pytest.fixture
def runs(monkeypatch):
    """Counts the runs of torch's exporter."""
    counted, run = [], structure.run_exporter

    def counting(*given, **settings):
        counted.append(settings)
        return run(*given, **settings)

    monkeypatch.setattr(structure, "run_exporter", counting)
    return counted


def trained(module):
    """Returns a network in eval mode whose batch norms have seen something."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return module.eval().requires_grad_(False)


def pruned(module):
    pruner = Pruner(module, (), EXAMPLE, lambda _: lambda group: torch.arange(group.size))
    kept = choose_counts(pruner.groups, PruneSettings(ratio=0.5, round_to=4))
    return pruner.prune(kept, 4)[0].eval().requires_grad_(False)


def content(model):
    """Returns operators, what they read and their weights, without names."""
    numbers: dict[str, object] = {}
    weights = {
        tensor.name: (tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes())
        for tensor in model.graph.initializer
    }

    def number(name):
        return weights.get(name) or numbers.setdefault(name, len(numbers))

    return [
        (
            node.op_type,
            [number(name) for name in node.input],
            [number(name) for name in node.output],
            sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute),
        )
        for node in model.graph.node
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "tiny" else pytest.mark.long) for name in SMALL]
)
def test_a_pruned_network_is_exported_as_the_exporter_does_it_without_running_it(name, runs):
    torch.manual_seed(0)
    network = trained(create_model(name, 3, in_channels=3, **SMALL[name]))
    made = NetworkStructure(network, EXAMPLE, "logits")
    smaller = pruned(network)
    assert sum(map(torch.numel, smaller.parameters())) < 0.6 * sum(map(torch.numel, network.parameters()))
    for module in (network, smaller):
        assert content(made.export(module)) == content(export_module(module, EXAMPLE, "logits"))
    assert len(runs) == 1


class Halves(nn.Module):
    """Splits its channels in two, by a number that is written into the graph."""

    def __init__(self, width):
        super().__init__()
        self.first, self.half = nn.Conv2d(3, width, 1), width // 2
        self.last = nn.Conv2d(width // 2, 2, 1)

    def forward(self, image):
        first, second = self.first(image).split(self.half, 1)
        return self.last(first - second)


class Scaled(nn.Module):
    """Multiplies by a plain number, which is written into the graph as well."""

    def __init__(self, factor):
        super().__init__()
        self.conv, self.factor = nn.Conv2d(3, 2, 1), factor

    def forward(self, image):
        return self.factor * self.conv(image)


@pytest.mark.parametrize(
    ("first", "other"), [(Halves(8), Halves(4)), (Scaled(2.0), Scaled(3.0)), (Halves(8), Scaled(2))]
)
def test_a_network_that_the_graph_does_not_fit_is_exported_on_its_own(first, other, runs):
    found = NetworkStructure(first.eval(), EXAMPLE, "logits").export(other.eval())
    assert len(runs) == 2
    image = torch.rand(EXAMPLE.shape, generator=torch.Generator().manual_seed(3))
    session = make_session(found.SerializeToString(), threads=1)
    (logits,) = run_session(session, ["logits"], {"image": image.numpy()})
    assert torch.allclose(torch.from_numpy(logits), other(image), atol=1e-5)
