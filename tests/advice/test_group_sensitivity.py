"""What a group of layers loses: zeros stand for channels that are not there."""

import pytest
import torch

from jetseg.advice.frames import batches_of
from jetseg.advice.sensitivity import GroupSensitivity
from jetseg.compress.batch_norms import reestimate_
from jetseg.compress.importance import Magnitude, Subject
from jetseg.compress.structured import Pruner
from jetseg.models.copying import copied


@pytest.mark.parametrize("number", [0, 3])
def test_a_thinned_group_changes_as_many_pixels_as_without_its_channels(number, checkpoint, make_bench):
    bench = make_bench(checkpoint)
    torch.manual_seed(1)
    for norm in bench.module.modules():  # fresh batch norms would let every channel matter alike
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.2, 1.5)
            torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    batches = batches_of(bench, "val", 8)
    sensitivity = GroupSensitivity(bench)
    group = sensitivity.groups[number]
    pruner = Pruner(bench.module, (), batches[0][:1], lambda copy: Magnitude().channel_importance(Subject(copy)))
    kept = [one.size - (one.size // 2 if one.root == group.root else 0) for one in pruner.groups]
    pruned, _ = pruner.prune(kept, 1)
    dense = copied(bench.module)
    reestimate_(pruned, batches)
    reestimate_(dense, batches)
    with torch.no_grad():
        expected = 100 * float((dense(batches[0]).argmax(1) != pruned(batches[0]).argmax(1)).float().mean())
    assert 0 < expected < 100
    assert sensitivity.changed(group, 0.5) == pytest.approx(expected, abs=0.01)
