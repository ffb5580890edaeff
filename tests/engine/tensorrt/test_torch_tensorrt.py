"""Conversion with torch-tensorrt, over a double of it; the library itself was never at hand."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tensorrt_double import GPU_LABEL, MAGIC
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.engine import open_engine
from jetseg.errors import ArtifactError, DeviceError, MissingDependencyError
from jetseg.manifest import InputSpec, Manifest, ModelSpec
from jetseg.network import load_manifest
from jetseg.workflows.exporting import export

torch = pytest.importorskip("torch")
from jetseg.exporters import torch_tensorrt  # noqa: E402
from jetseg.exporters.onnx_export import export_module  # noqa: E402
from jetseg.models import create_model  # noqa: E402
from jetseg.training.checkpoint import save_checkpoint  # noqa: E402

INPUT = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)


gpu_label = torch_tensorrt._gpu_label


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    spec = InputSpec(height=64, width=96)
    model = ModelSpec(factory="tiny", options={"width": 8})
    path = tmp_path / "net.safetensors"
    save_checkpoint(
        path, create_model("tiny", 3, width=8).eval(), Manifest(classes=("a", "b", "c"), input=spec, model=model)
    )
    return path


@pytest.fixture
def converter(double, monkeypatch):
    """Puts a double of torch-tensorrt in the original's place; returns what it was asked for."""
    double()
    asked = {}

    def convert(exported_program, inputs=None, **settings):
        assert isinstance(exported_program, torch.export.ExportedProgram)
        asked.update(settings)
        if asked.get("fails"):
            raise ValueError("no converter for aten.strange\nand a page more")
        module = exported_program.module()
        return MAGIC + export_module(module, inputs[0], "out").SerializeToString()

    library = ModuleType("torch_tensorrt")
    library.__version__, library.__spec__ = "2.9.0", ModuleSpec("torch_tensorrt", None)
    library.dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", library)
    monkeypatch.setattr(torch_tensorrt, "DEVICE", "cpu")
    monkeypatch.setattr(torch_tensorrt, "_gpu_label", lambda: GPU_LABEL)
    return asked


def test_the_engine_opens_in_the_same_runtime_and_computes_the_same(converter, checkpoint, tmp_path):
    out = tmp_path / "net.engine"
    done = CliRunner().invoke(app, ["export", str(checkpoint), "--out", str(out)], catch_exceptions=False)
    assert "fp16 for Double GPU (sm_87), not measured" in done.stdout
    assert converter["enabled_precisions"] == {torch.float16, torch.float32}
    manifest = load_manifest(out)
    assert (manifest.backend, manifest.kind, manifest.toolchain["torch-tensorrt"]) == ("tensorrt", "engine", "2.9.0")
    assert manifest.parent_sha256 == load_manifest(checkpoint).sha256
    with open_engine(out) as engine:
        found = engine.infer(INPUT).copy()
    from jetseg.training.torch_runner import TorchRunner

    np.testing.assert_allclose(found, TorchRunner(checkpoint).infer(INPUT), atol=1e-4)


def test_fp32_is_without_shortened_mantissas(converter, checkpoint, tmp_path):
    export(checkpoint, out=tmp_path / "n.engine", precision="fp32")
    assert converter["disable_tf32"]
    assert "enabled_precisions" not in converter


def test_what_is_missing_is_named(converter, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "n.engine"
    converter["fails"] = True
    with pytest.raises(ArtifactError, match=r"ValueError: no converter for aten\.strange\. Export it to ONNX"):
        export(checkpoint, out=out)
    monkeypatch.setattr(torch_tensorrt, "_gpu_label", gpu_label)
    with pytest.raises(DeviceError, match="torch sees no GPU"):
        export(checkpoint, out=out)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"NVIDIA's package host.*NAME\.onnx"):
        export(checkpoint, out=out)
    assert not out.exists()
