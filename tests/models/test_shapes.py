"""fit_shapes_: every kind of layer follows pruned weights; other differences are refused."""

import pytest
import torch
from torch import nn

from jetseg.errors import ArtifactError
from jetseg.models import fit_shapes_


def build(wide, narrow):
    """A network with `wide` and `narrow` channels in every kind of layer."""
    return nn.Sequential(
        nn.Conv2d(3, wide, 3),
        nn.BatchNorm2d(wide),
        nn.PReLU(wide),
        nn.Conv2d(wide, wide, 3, groups=wide),
        nn.Conv2d(wide, narrow, 1),
        nn.BatchNorm2d(narrow, affine=False),
        nn.Conv2d(narrow, narrow, 3, groups=2),
        nn.ConvTranspose2d(narrow, wide, 2, 2),
        nn.ConvTranspose2d(wide, wide, 2, 2, groups=wide),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(wide, 5),
    )


def test_module_follows_the_weights():
    small, large = build(6, 4).eval(), build(16, 8).eval()
    fit_shapes_(large, small.state_dict())
    large.load_state_dict(small.state_dict())
    image = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(large(image), small(image), rtol=0, atol=0)
    assert repr(large) == repr(small)  # the channel counts that layers remember
    assert all(parameter.requires_grad for parameter in large.parameters())


def test_weights_of_another_network_are_refused():
    weights = build(6, 4).state_dict()
    weights["12.weight"] = weights.pop("0.weight")
    with pytest.raises(ArtifactError, match=r"lack 0\.weight and hold 12\.weight"):
        fit_shapes_(build(6, 4), weights)


@pytest.mark.parametrize("shape", [(6, 3, 5, 5), (6, 3, 3)])
def test_other_kernels_are_not_a_matter_of_channels(shape):
    weights = build(6, 4).state_dict()
    weights["0.weight"] = torch.zeros(shape)
    with pytest.raises(ArtifactError, match=r"0\.weight has shape .* needs \(16, 3, 3, 3\)"):
        fit_shapes_(build(16, 8), weights)


def test_counter_of_old_batch_norms_may_be_absent():
    weights = {key: value for key, value in build(6, 4).state_dict().items() if "num_batches" not in key}
    fit_shapes_(build(16, 8), weights)
