"""A backend that brings no more than it must is judged like those of jetseg."""

import numpy as np
import pytest
from small_network import write_dataset, write_small_network

from jetseg.data.dataset import Dataset
from jetseg.engine.backend import Backend, BuildReport
from jetseg.engine.build import build_engine
from jetseg.engine.config import BuildConfig
from jetseg.engine.onnxruntime.backend import OnnxRuntime
from jetseg.engine.result import EngineRejectedError
from jetseg.network import open_network
from jetseg.registry import BACKENDS


class Mistaken(Backend):
    """Takes every class for the next one."""

    suffix = ".mistaken.onnx"

    def build(self, request):
        request.destination.write_bytes(request.network.path.read_bytes())
        return BuildReport()

    def open(self, network, threads=None):
        runner = OnnxRuntime().open(network, threads)
        infer = runner.infer
        runner.infer = lambda network_input: np.roll(infer(network_input), 1, axis=1)
        return runner


def test_a_backend_without_candidates_that_fails_the_gate_is_rejected(tmp_path, monkeypatch):
    """No layer can be timed on it, and no rounding simulated: the classes are told all the same."""
    monkeypatch.setitem(BACKENDS.own, "mistaken", "")
    monkeypatch.setitem(BACKENDS._loaded, "mistaken", Mistaken)
    network = open_network(write_small_network(tmp_path))
    config = BuildConfig(backend="mistaken", precision="int8", preset="fast", split="all", eval_split="all", images=4)
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(
            network, config, dataset=Dataset(write_dataset(tmp_path / "data")), out=tmp_path / "e.mistaken.onnx"
        )
    assert any("mIoU" in violation for violation in caught.value.result.violations)
    assert all(effect.float_ms is None for effect in caught.value.result.sensitive_layers)
    assert not (tmp_path / "e.mistaken.onnx").exists()
