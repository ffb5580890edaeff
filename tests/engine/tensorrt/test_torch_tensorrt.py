"""The stage around torch-tensorrt, over a double of TensorRT; `make torch-tensorrt` runs the library itself."""

import json
import re
import sys
from types import ModuleType

import numpy as np
import pytest
from tensorrt_double import GPU_LABEL, MAGIC
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.engine import open_engine
from jetseg.engine.tensorrt.layers import LayerReport
from jetseg.errors import ArtifactError, DeviceError, MissingDependencyError, QualityError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.network import load_manifest
from jetseg.workflows.exporting import export

torch = pytest.importorskip("torch")
from jetseg.exporters import torch_tensorrt  # noqa: E402
from jetseg.exporters.onnx_export import export_module  # noqa: E402
from jetseg.exporters.plan_builder import Plan  # noqa: E402
from jetseg.models import create_model  # noqa: E402
from jetseg.training.checkpoint import save_checkpoint  # noqa: E402

INPUT = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
gpu_label, load_torch_tensorrt = torch_tensorrt._gpu_label, torch_tensorrt.load_torch_tensorrt


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "net.safetensors")


def write_checkpoint(path, change=lambda network: None):
    torch.manual_seed(0)
    network = create_model("tiny", 3, width=8).eval()
    change(network)
    model = ModelSpec(factory="tiny", options={"width": 8})
    spec = InputSpec(height=64, width=96)
    save_checkpoint(path, network, Manifest(classes=("a", "b", "c"), input=spec, model=model))
    return path


@pytest.fixture
def converter(double, monkeypatch):
    """Puts a double of what builds plans in the original's place; returns the programs that it was given."""
    double()
    given = []

    def build_plan(_library, program, example, config):
        given.append(program)
        content = MAGIC + export_module(program.module(), example, "out").SerializeToString()
        versions = {"torch-tensorrt": "2.9.0", "tensorrt": "10.3.0"}
        return Plan(content, {config.precision: 9, "other": 1}, {config.precision: 4}, "tensorrt", versions)

    monkeypatch.setattr(torch_tensorrt, "load_torch_tensorrt", lambda: ModuleType("torch_tensorrt"))
    monkeypatch.setattr(torch_tensorrt, "build_plan", build_plan)
    monkeypatch.setattr(torch_tensorrt, "DEVICE", "cpu")
    monkeypatch.setattr(torch_tensorrt, "_gpu_label", lambda: GPU_LABEL)
    return given


@pytest.mark.long
def test_the_engine_opens_in_the_same_runtime_and_computes_the_same(converter, checkpoint, tmp_path):
    out = tmp_path / "net.engine"
    command = ["export", str(checkpoint), "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--precision", "fp32"], catch_exceptions=False)
    assert re.search(r"\d+ layers in int8, \d+ layers in fp32, for Double GPU \(sm_87\), not measured", done.stdout)
    manifest = load_manifest(out)
    assert (manifest.backend, manifest.kind, manifest.toolchain["torch-tensorrt"]) == ("tensorrt", "engine", "2.9.0")
    assert manifest.parent_sha256 == load_manifest(checkpoint).sha256
    assert manifest.stages[-1].settings["matrix_layers"] == {"fp32": 4}
    with open_engine(out) as engine:
        found = engine.infer(INPUT).copy()
    from jetseg.training.torch_runner import TorchRunner

    np.testing.assert_allclose(found, TorchRunner(checkpoint).infer(INPUT), atol=1e-4)
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["layers"]["int8"] == 17  # what the double says of convolutions


@pytest.mark.long
def test_without_an_inspectors_report_the_network_states_the_layers(converter, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("jetseg.engine.tensorrt.layers.inspect_layers", lambda *_: LayerReport())
    assert export(checkpoint, out=tmp_path / "n.engine").layers == {"fp16": 9, "other": 1}


@pytest.mark.long
@pytest.mark.parametrize("head", ["logits", "classmap"])
@pytest.mark.parametrize("kind", ["normalized", "frame"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graph_computes_in_the_precision_that_was_asked_for(converter, checkpoint, tmp_path, precision, kind, head):
    export(checkpoint, out=tmp_path / "n.engine", precision=precision, input=kind, head=head)
    nodes = [node for node in converter[0].graph.nodes if node.op == "call_function"]
    wanted = torch.float16 if precision == "fp16" else torch.float32
    outputs = [node.meta["val"].dtype for node in converter[0].graph.find_nodes(op="output")[0].all_input_nodes]
    assert outputs == [torch.float32 if head == "logits" else torch.int64]  # the plan's output casts to uint8
    assert {node.meta["val"].dtype for node in nodes if "conv" in str(node.target)} == {wanted}
    first = next(node for node in nodes if "metadata" not in str(node.target))
    assert first.meta["val"].dtype == (torch.float32 if kind == "frame" else wanted)  # no mover reads uint8


def too_large(network):
    with torch.no_grad():
        next(network.parameters())[0] = 1e5


def overflowing(network):
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1000 if weight.ndim == 4 else 1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (too_large, ArtifactError, r"\.weight holds a number beyond 65504"),
        (overflowing, QualityError, "in fp16, does not compute what the network computes: logits differ by up to inf"),
    ],
)
def test_what_half_precision_cannot_hold_is_refused(converter, tmp_path, change, error, words):
    path = write_checkpoint(tmp_path / "large.safetensors", change)
    with pytest.raises(error, match=words):
        export(path, out=tmp_path / "n.engine")
    assert not (tmp_path / "n.engine").exists()
    assert converter == []


def test_what_is_missing_is_named(converter, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "n.engine"
    monkeypatch.setattr(torch_tensorrt, "_gpu_label", gpu_label)
    with pytest.raises(DeviceError, match="torch sees no GPU"):
        export(checkpoint, out=out)
    monkeypatch.setattr(torch_tensorrt, "load_torch_tensorrt", load_torch_tensorrt)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"CUDA build of torch.*NAME\.onnx"):
        export(checkpoint, out=out)
    assert not out.exists()
