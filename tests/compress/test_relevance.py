"""Which channels speak for a class, on a network whose channels are known."""

import numpy as np
import pytest
import torch
from test_prune_stage import DATA, save

from jetseg.compress.config import PruneConfig
from jetseg.compress.layers import channel_counts
from jetseg.compress.prune import prune_network
from jetseg.compress.relevance import lost_relevance
from jetseg.config import changed
from jetseg.data.dataset import open_dataset, open_split
from jetseg.data.target_labels import labels_of_target
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models import create_model
from jetseg.network import open_network
from jetseg.output_spec import OutputSpec
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.workflows.pruning import prune


@pytest.fixture
def checkpoint(tmp_path):
    return save(tmp_path / "dense.safetensors", open_split(DATA, "train").classes, width=8)


def test_the_manifest_names_the_channels_that_are_gone(checkpoint, tmp_path):
    out = tmp_path / "pruned.safetensors"
    prune_network(open_network(checkpoint), PruneConfig(criterion="magnitude", round_to=2, ratio=0.5), out)
    dense, pruned = (load_checkpoint(path) for path in (checkpoint, out))
    removed = pruned[1].model.removed
    before, after = channel_counts(dense[0]), channel_counts(pruned[0])
    assert {name: before[name] - after[name] for name in before if before[name] != after[name]} == {
        name: len(channels) for name, channels in removed.items()
    }
    stays = [channel for channel in range(before["stem.0"]) if channel not in removed["stem.0"]]
    weights = [module.get_parameter("stem.0.weight") for module in (dense[0], pruned[0])]
    assert torch.equal(weights[0][stays], weights[1])


def test_channels_that_several_steps_took_are_numbered_as_in_the_first_network(checkpoint, tmp_path):
    result = prune(checkpoint, out=tmp_path / "p.safetensors", steps=2, ratio=0.75, criterion="magnitude", round_to=1)
    dense, pruned = (load_checkpoint(path) for path in (checkpoint, result.checkpoint))
    removed = pruned[1].model.removed["stem.0"]
    assert {layer.name: layer.removed for layer in result.layers}["stem.0"] == removed
    stays = [channel for channel in range(8) if channel not in removed]
    assert torch.equal(dense[0].stem[0].weight[stays], pruned[0].stem[0].weight)


def test_relevance_is_what_the_class_loses_without_the_channels(checkpoint, tmp_path):
    out = tmp_path / "pruned.safetensors"
    prune_network(open_network(checkpoint), PruneConfig(criterion="magnitude", round_to=2, ratio=0.25), out)
    split = open_dataset(DATA).split("train")
    subject = split.classes[
        int(np.bincount(split[0].label_hw_u8.ravel(), minlength=256)[: len(split.classes)].argmax())
    ]
    found = lost_relevance(open_network(checkpoint), open_network(out).manifest.model, split, [0, 1], subject)
    assert {lost.layer: len(lost.gone) for lost in found.layers} != {}
    assert all(0 <= lost.relevance <= 1 and len(lost.most) <= 5 for lost in found.layers)
    again = lost_relevance(open_network(checkpoint), open_network(out).manifest.model, split, [0, 1], subject)
    assert again == found  # silenced channels come back


def test_a_channel_that_one_task_alone_reads_is_lost_by_that_task_alone(tmp_path):
    split = open_dataset("synthetic:4").split("train")
    drivable = split.targets["drivable"]
    outputs = (
        OutputSpec(name="segmentation", classes=split.classes),
        OutputSpec(name="drivable", task="binary", classes=drivable.classes),
    )
    heads = {output.name: output.channels for output in outputs}
    model = ModelSpec(factory="multi-task", options={"width": 8, "heads": heads}, heads=tuple(heads))
    spec = InputSpec(height=48, width=80, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    module = create_model("multi-task", 10, width=8, heads=heads).eval()
    dense = tmp_path / "dense.safetensors"
    save_checkpoint(dense, module, Manifest(kind="checkpoint", outputs=outputs, input=spec, model=model))
    layer = "heads.segmentation.0.0"
    child = changed(model, removed={layer: (0, 3)})

    def lost(task, labels):
        subject = labels.classes[1]
        return lost_relevance(open_network(dense), child, labels, [0, 1], subject, task=task).layers[0]

    own = lost("segmentation", split)
    other = lost("drivable", labels_of_target(split, "drivable"))
    assert own.layer == other.layer == layer
    assert own.most
    assert (other.most, other.relevance, other.alone) == ((), 0.0, 0.0)


def test_a_network_that_lost_no_channels_has_nothing_to_tell(checkpoint):
    network = open_network(checkpoint)
    split = open_dataset(DATA).split("train")
    assert lost_relevance(network, network.manifest.model, split, [0], split.classes[0]) is None
