"""Inputs that once failed, kept outside the project, give the right value or the right sentence."""

import importlib.util
import subprocess
import sys

import pytest
import torch

from jetseg.compress.importance import Magnitude, Subject
from jetseg.compress.structured import Pruner, PruneSettings, choose_counts
from jetseg.errors import ConfigError, ManifestError
from jetseg.manifest_file import read_manifest
from jetseg.recipes.recipe import load_recipe

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
PRUNED = {
    "ChannelShuffle": {"stem.0", "first.0", "last.0"},
    "ChunkedBranches": {"stem.0", "first.0", "last.0", "inner.0"},
    "SubPixel": {"stem.0", "first.0", "widen", "last.0"},
    "Tokens": {"stem.0", "last.0", "up"},
    "SummedGate": {"stem.0", "first.0", "last.0", "query", "key"},
    "Unpooled": {"stem.0", "first.0", "last.0"},
}
"""What loses its dead half; the rest is kept and named."""


@pytest.fixture
def cases(shared_dir):
    return shared_dir / "cases"


@pytest.mark.parametrize("name", PRUNED)
def test_pruning_of_dead_channels_changes_nothing(cases, name):
    spec = importlib.util.spec_from_file_location("failed_networks", cases / "networks.py")
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    torch.manual_seed(0)
    dense = networks.with_dead_channels(getattr(networks, name)(11)).eval()
    pruner = Pruner(dense, (), torch.zeros_like(IMAGE), lambda copy: Magnitude().channel_importance(Subject(copy)))
    pruned, changes = pruner.prune(choose_counts(pruner.groups, PruneSettings(ratio=0.5, round_to=4)), 4)
    with torch.no_grad():
        expected, actual = dense(IMAGE), pruned(IMAGE)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * float(expected.max() - expected.min()))
    assert {change.name for change in changes if 2 * change.after == change.before} == PRUNED[name]
    assert all(change.note.startswith("kept: ") for change in changes if change.after == change.before)


def test_a_few_lines_do_not_become_gigabytes(cases, tmp_path):
    with pytest.raises(ManifestError, match="repeats a part by an alias"):
        read_manifest(cases / "bomb.yaml", cases / "nhwc.onnx")
    with pytest.raises(ConfigError, match="repeats a part by an alias"):
        load_recipe(str(cases / "bomb.yaml"))
    from jetseg.data.dataset import open_dataset

    (tmp_path / "images").mkdir()
    (tmp_path / "classes.yaml").write_bytes((cases / "bomb.yaml").read_bytes())
    with pytest.raises(ConfigError, match="repeats a part by an alias"):
        open_dataset(f"folder:{tmp_path}").split("train")


def test_a_network_that_never_answers_ends_the_start(cases):
    words = ["run", str(cases / "loop_forever.onnx"), "--source", "synthetic:3", "--no-labels", "--no-drift"]
    ended = subprocess.run(
        [sys.executable, "-m", "jetseg", *words, "--watchdog", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 4
    assert "The timing stage stopped: a run of the network has not come back for" in ended.stderr
