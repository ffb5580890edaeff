"""Low rank: factors reproduce kernels, ranks are right, only what pays is split, checkpoints load again."""

import json

import pytest
import torch
from pruned import prune_structured
from test_prune_stage import DATA, call, save
from torch import nn

from jetseg.compress.config import FactorizeConfig
from jetseg.compress.factorize import factorize, factorize_network
from jetseg.compress.importance import Magnitude, Subject
from jetseg.compress.low_rank import energy_rank, spatial_spectrum, spatial_svd, tucker2, vbmf_rank
from jetseg.compress.structured import PruneSettings
from jetseg.data.dataset import open_split
from jetseg.models import create_model, fit_shapes_
from jetseg.models.factors import Factors
from jetseg.network import load_manifest, open_network
from jetseg.training.checkpoint import load_checkpoint

CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    {"kernel_size": (5, 3), "stride": (1, 2), "padding": (4, 2), "dilation": 2},
]


@pytest.fixture
def checkpoint(tmp_path):
    return save(tmp_path / "dense.safetensors", open_split(DATA, "train").classes, width=8)


def run(tmp_path, time_layers=None, **settings):
    network, out = open_network(tmp_path / "dense.safetensors"), tmp_path / "low.safetensors"
    return factorize_network(network, FactorizeConfig(**settings), out, time_layers)


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_factors_of_full_rank_are_the_convolution(options):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, **options).double()
    image = torch.randn(2, 6, 17, 20, dtype=torch.float64)
    rank = len(spatial_spectrum(conv))
    for factors in (spatial_svd(conv, rank), tucker2(conv, 6, 8)):
        torch.testing.assert_close(factors(image), conv(image), rtol=0, atol=1e-10)


def test_a_smaller_rank_loses_what_the_spectrum_says():
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3, bias=False).double()
    values = spatial_spectrum(conv)
    factors = spatial_svd(conv, 5)
    composed = torch.einsum("rih,orw->oihw", factors[0].weight[..., 0], factors[1].weight[:, :, 0])
    torch.testing.assert_close((composed - conv.weight).norm(), values[5:].norm())
    assert energy_rank(values, 1.0) == len(values)


def test_tucker_finds_planted_ranks():
    torch.manual_seed(0)
    conv = nn.Conv2d(12, 16, 3, bias=False).double()
    core, inner, outer = torch.randn(4, 3, 3, 3).double(), torch.randn(12, 3).double(), torch.randn(16, 4).double()
    conv.weight.data = torch.einsum("srhw,ir,os->oihw", core, inner, outer)
    image = torch.randn(1, 12, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(tucker2(conv, 3, 4)(image), conv(image))


@pytest.mark.parametrize("shape", [(60, 200), (200, 60), (80, 80)])
@pytest.mark.parametrize("rank", [0, 1, 7])
def test_vbmf_finds_the_rank_behind_noise(shape, rank):
    generator = torch.Generator().manual_seed(rank)
    rows, columns = shape
    noise = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    left = torch.randn(rows, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, columns, generator=generator, dtype=torch.float64)
    for scale in (1e-3, 1.0, 50.0):
        values = torch.linalg.svdvals(scale * (3 * left @ right + noise))
        assert vbmf_rank(values, rows, columns) == rank
    assert vbmf_rank(torch.zeros(rows), rows, columns) == 0


def test_a_layer_of_few_outputs_is_read_through_no_more_channels_than_it_has_products(tmp_path):
    wide = nn.Sequential(nn.Conv2d(512, 16, 3))
    settings = FactorizeConfig(form="tucker", rank="budget", round_to=1, size_only=True)
    _, (layer,) = factorize(wide, settings, torch.zeros(1, 512, 8, 8), None)
    assert layer.factorized
    assert layer.ranks[0] <= layer.ranks[1] * 9


@pytest.mark.parametrize("form", ["spatial", "tucker"])
@pytest.mark.parametrize("rank", ["energy", "vbmf", "budget"])
def test_checkpoints_load_again(checkpoint, tmp_path, form, rank):
    result = run(tmp_path, form=form, rank=rank, size_only=True, round_to=2, energy=0.5)
    assert result.pays == result.checkpoint.exists() == any(layer.factorized for layer in result.layers)
    if not result.pays:  # fresh kernels are noise, and VBMF says so
        assert rank == "vbmf"
        return
    module, manifest = load_checkpoint(result.checkpoint)
    dense, _ = load_checkpoint(checkpoint)
    assert manifest.stages[-1].name == "factorize"
    assert manifest.parent_sha256 == load_manifest(checkpoint).sha256
    replaced = {layer.name for layer in result.layers if layer.factorized}
    assert replaced == {name for name, layer in module.named_modules() if isinstance(layer, Factors)}
    assert replaced
    assert result.after.parameters < result.before.parameters
    expected, _ = factorize(
        dense,
        FactorizeConfig(form=form, rank=rank, size_only=True, round_to=2, energy=0.5),
        torch.zeros(1, 3, 64, 96),
        None,
    )
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(module(image), expected(image))


def test_a_factorized_network_can_be_pruned_and_loads_again(checkpoint, tmp_path):
    dense, manifest = load_checkpoint(checkpoint)
    image = torch.randn(1, 3, 64, 96)
    low, _ = factorize(dense, FactorizeConfig(size_only=True, round_to=4, energy=0.6), image, None)
    pruned, _ = prune_structured(
        low, PruneSettings(round_to=2), image, lambda copy: Magnitude().channel_importance(Subject(copy))
    )
    again = create_model("tiny", manifest.num_classes, width=8).eval()
    fit_shapes_(again, pruned.state_dict())
    again.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(again(image), pruned(image))


def test_only_what_the_device_runs_faster_is_split(checkpoint, tmp_path):
    def time_layers(pieces):
        """Chains are slow on small images and fast on large ones."""
        return [1.0 if len(piece) == 1 else (0.5 if piece[0].height > 12 else 0.97) for piece in pieces]

    result = run(tmp_path, time_layers, rank="budget")
    by_name = {layer.name: layer for layer in result.layers}
    assert by_name["refine.0"].factorized
    assert by_name["refine.0"].reason == "pays: 2.00 times as fast"
    assert not by_name["stage16.1.conv1.0"].factorized
    assert by_name["stage16.1.conv1.0"].reason == "does not pay: 1.03 times as fast"
    assert by_name["classifier"].reason == "cannot: nothing to split in its kernel"


def test_the_verb_fine_tunes_with_a_teacher(checkpoint, tmp_path):
    arguments = ["--size-only", "--rank", "budget", "--data", DATA, "--epochs", 1, "--batch-size", 2]
    outcome = call("factorize", checkpoint, *arguments, "--teacher", checkpoint, "--json")
    assert outcome.exit_code == 0, outcome.output
    content = json.loads(outcome.stdout)
    module, manifest = load_checkpoint(tmp_path / "dense.factorized.safetensors")
    assert [stage.name for stage in manifest.stages] == ["factorize", "distill"]
    assert sum(isinstance(layer, Factors) for layer in module.modules()) == sum(
        layer["factorized"] for layer in content["layers"]
    )


def test_nothing_is_written_where_no_layer_pays(checkpoint, tmp_path):
    before = sorted(tmp_path.iterdir())
    outcome = call("factorize", checkpoint, "--size-only", "--energy", 1.0, "--round-to", 64)
    assert outcome.exit_code == 1
    assert "pays for no layer" in str(outcome.exception)
    assert "a lower `energy`" in str(outcome.exception)
    assert "size_only" not in str(outcome.exception)
    assert sorted(tmp_path.iterdir()) == before
