"""Batch norms, estimated anew."""

import torch
from torch import nn

from jetseg.compress.batch_norms import reestimate_


def test_statistics_become_those_of_the_inputs_and_all_else_stays():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batches = [torch.randn(4, 3, 6, 5) + 3.0 for _ in range(3)]
    reestimate_(net, batches)
    seen = [net[0](images).detach() for images in batches]
    mean = torch.stack([values.mean((0, 2, 3)) for values in seen]).mean(0)
    variance = torch.stack([values.var((0, 2, 3)) for values in seen]).mean(0)
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, variance)
    assert net[1].momentum == 0.1
    assert not any(module.training for module in net.modules())
    others = [name for name in before if "running" not in name and "tracked" not in name]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in others)


def test_a_network_without_batch_norms_is_not_run():
    class Refusing(nn.Module):
        def forward(self, images):
            raise AssertionError

    reestimate_(Refusing(), [torch.zeros(1, 3, 4, 4)])
