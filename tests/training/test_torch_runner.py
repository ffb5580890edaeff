import numpy as np
import pytest
import torch

from jetseg.engine.backend import Runner
from jetseg.engine.engine import Engine
from jetseg.errors import ArtifactError
from jetseg.manifest_file import manifest_path
from jetseg.models import create_model
from jetseg.training.checkpoint import save_checkpoint
from jetseg.training.torch_runner import TorchRunner
from jetseg.workflows.opening import open_engine


def test_a_checkpoint_runs_as_an_engine_does(tmp_path, manifest):
    torch.manual_seed(0)
    module = create_model("tiny", 3, width=8).eval()
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, module, manifest)
    runner: Runner = TorchRunner(path)
    value = np.random.default_rng(0).standard_normal((1, 3, 32, 48), dtype=np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(value)).numpy()
    np.testing.assert_array_equal(runner.infer(value), expected)
    frame = np.zeros((50, 70, 3), np.uint8)
    assert Engine(runner).segment(frame).shape == (32, 48)
    runner.close()
    runner.close()
    with pytest.raises(ArtifactError, match="closed"):
        runner.infer(value)


def test_a_module_needs_a_manifest(manifest):
    module = create_model("tiny", 3, width=8)
    assert TorchRunner(module, manifest).manifest is manifest
    with pytest.raises(TypeError):
        TorchRunner(module)


def test_a_checkpoint_is_opened_with_the_manifest_that_was_given(tmp_path, manifest):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, create_model("tiny", 3, width=8).eval(), manifest)
    elsewhere = manifest_path(path).rename(tmp_path / "elsewhere.json")
    with open_engine(path, manifest=elsewhere) as engine:
        assert engine.segment(np.zeros((50, 70, 3), np.uint8)).shape == (32, 48)
