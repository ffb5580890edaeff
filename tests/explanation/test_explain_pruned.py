"""A child whose channels for one class were pruned on purpose."""

import numpy as np
import pytest
import torch
from colored import SIGN_CHANNELS, write_shapes
from colored_torch import FACTORY, checkpoint_manifest, trained

from jetseg.compress.activation_map import class_activation
from jetseg.compress.channels.tracing import trace_channels
from jetseg.compress.groups import find_groups
from jetseg.compress.prune import with_removed
from jetseg.compress.relevance import _Scored, lost_relevance
from jetseg.compress.structured import Pruner
from jetseg.data.dataset import open_split
from jetseg.manifest import Stage
from jetseg.network import open_network
from jetseg.training.checkpoint import save_checkpoint
from jetseg.trust import trust
from jetseg.workflows.explanation import explain


def write_pruned(folder, gone):
    """Writes the network and one without some channels of `detect`; returns both."""
    trust([FACTORY])
    parent, child = folder / "parent.safetensors", folder / "child.safetensors"
    first = save_checkpoint(parent, trained(), checkpoint_manifest())

    def importance(_module):
        return lambda group: torch.tensor([float(unit not in gone) for unit in range(group.size)])

    pruner = Pruner(trained(), (), torch.zeros(1, 3, 96, 128), importance)
    pruned, layers = pruner.prune([pruner.groups[0].size - len(gone)], 1)
    model = with_removed(first, layers)
    stage = Stage(
        name="prune", settings={"ratio": 0.2, "round_to": 1, "criterion": "magnitude", "method": "structured"}
    )
    save_checkpoint(child, pruned, first.derive(stage, model=model))
    return parent, child


@pytest.fixture
def shapes(tmp_path):
    return write_shapes(tmp_path / "shapes", frames=16)


@pytest.mark.long
def test_the_first_sentence_counts_the_channels_that_mattered_most(shapes, tmp_path):
    parent, child = write_pruned(tmp_path, SIGN_CHANNELS[:3])
    result = explain(parent, [child], data=shapes, split="all").children[0]
    first = result.findings[0]
    assert result.summary[0].startswith("sign lost ")
    assert "3 of the 5 channels of layer detect that mattered most to it were removed" in result.summary[0]
    assert (first.cause.kind, first.cause.layer, first.cause.channels) == ("channels", "detect", (0, 1, 2))
    assert first.cause.proven


def test_channels_are_ranked_by_what_they_say(shapes, tmp_path):
    parent, child = write_pruned(tmp_path, (1, 3, 7))
    split = open_split(shapes, "all")
    found = lost_relevance(open_network(parent), open_network(child).manifest.model, split, [0, 1, 2], "sign")
    (layer,) = found.layers
    assert layer.gone == (1, 3, 7)
    assert layer.most == SIGN_CHANNELS  # from the strongest to the weakest
    assert layer.relevance == pytest.approx((0.8 + 0.4) / 3.0, abs=0.03)
    assert layer.alone == pytest.approx(found.dense - found.masked, abs=0.01)
    assert layer.restored == layer.alone
    assert (found.least, found.won) == (1, layer.restored)


def test_where_training_followed_the_batch_norms_are_estimated_anew_and_put_back(shapes, tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1)).eval()
    trace = trace_channels(module, torch.zeros(1, 3, 8, 8))
    groups, _ = find_groups(module, trace, ())
    before = {name: values.clone() for name, values in module.state_dict().items()}
    frames = [(torch.rand(1, 3, 8, 8) + 5, torch.zeros(8, 8, dtype=torch.uint8)) for _ in range(2)]
    scored = _Scored(module, groups, frames, checkpoint_manifest(), None, "road", trained=True)
    with torch.no_grad(), scored._without({0: [1, 2]}):
        assert module[1].running_mean[[0, 3]].abs().min() > 1e-3
        assert not module[0].weight[[1, 2]].any()
        assert not module[1].training
    assert all(torch.equal(values, before[name]) for name, values in module.state_dict().items() if "num_" not in name)


@pytest.mark.long
def test_the_page_shows_what_speaks_for_the_class_before_and_now(shapes, tmp_path):
    parent, child = write_pruned(tmp_path, SIGN_CHANNELS[:3])
    out = tmp_path / "page.html"
    explain(parent, [child], data=shapes, split="all", out=out, examples=1)
    page = out.read_text(encoding="utf-8")
    assert "Class activation maps" in page
    assert page.count("data:image/jpeg") == 5 + 2
    sample = open_split(shapes, "all")[3]
    y, x = np.argwhere(sample.label_hw_u8 == 2)[0]
    explain(parent, [child], data=shapes, split="all", out=out, examples=0, causes=False, at=f"{sample.name}:{x},{y}")
    page = out.read_text(encoding="utf-8")
    assert f"in {sample.name}" in page
    assert page.count("data:image/jpeg") == 2


def test_an_activation_map_is_bright_where_the_class_is(shapes, tmp_path):
    parent, _ = write_pruned(tmp_path, SIGN_CHANNELS[:3])
    sample = open_split(shapes, "all")[0]
    where = sample.label_hw_u8 == 1
    heat = class_activation(open_network(parent), sample.image_hwc_u8, where, 1)
    assert heat.shape == where.shape
    assert heat.max() == pytest.approx(1.0)
    assert heat[where].mean() > 10 * heat[~where].mean()
    assert class_activation(open_network(parent), sample.image_hwc_u8, np.zeros_like(where), 1) is None


@pytest.mark.long
def test_the_repair_is_a_command_that_keeps_the_layer(shapes, tmp_path):
    parent, child = write_pruned(tmp_path, SIGN_CHANNELS[:3])
    result = explain(parent, [child], data=shapes, split="all", repair=True).children[0]
    repair = result.findings[0].repair
    assert (repair.kind, repair.layers) == ("keep-channels", ("detect",))
    assert repair.command.endswith("--ratio 0.2 --round-to 1 --criterion magnitude --keep detect")
    assert "It could not be tried: No layer is left that could be pruned." in repair.words  # it is the only one
