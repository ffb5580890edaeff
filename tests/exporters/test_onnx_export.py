"""Export: clean graphs, equal to torch, nothing but errors that explain themselves."""

import json
from contextlib import nullcontext
from unittest import mock

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.errors import ArtifactError, ConfigError, MissingDependencyError, QualityError
from jetseg.exporters import parity
from jetseg.exporters.graph_ends import FrameNormalization
from jetseg.exporters.onnx_export import export_module
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models import create_model
from jetseg.network import load_manifest
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import class_map
from jetseg.preprocess import Preprocessor
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.workflows.exporting import export
from jetseg.workflows.pruning import prune

CLASSES = ("road", "sky", "car")
CLEAN = {"Conv", "ConvTranspose", "Relu", "Add", "AveragePool", "MaxPool", "Resize", "Concat"}
SMALL = {
    "fast-scnn": {"width": 0.25},
    "ddrnet-23-slim": {"width": 8},
    "unet": {"width": 8, "depth": 3},
    "tiny": {"width": 8},
}


def save(path, name, size=(72, 104), **spec):
    torch.manual_seed(0)
    gray = spec.get("color") == "gray"
    means = {"mean": (0.4,), "std": (0.2,)} if gray else {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    manifest = Manifest(
        classes=CLASSES,
        input=InputSpec(height=size[0], width=size[1], scale=1 / 255, **{**means, **spec}),
        model=ModelSpec(factory=name, options=SMALL[name]),
    )
    module = create_model(name, 3, in_channels=manifest.input.channels, **SMALL[name])
    save_checkpoint(path, module, manifest)
    return path


@pytest.mark.long
def test_coarse_logits_are_those_before_the_last_upsampling(tmp_path):
    checkpoint = save(tmp_path / "net.safetensors", "tiny")
    whole = export(checkpoint, out=tmp_path / "whole.onnx")
    coarse = export(checkpoint, out=tmp_path / "coarse.onnx", coarse=True)
    assert coarse.manifest.stages[-1].settings["coarse"] is True
    image = np.random.default_rng(0).normal(size=(1, 3, 72, 104)).astype(np.float32)
    found, full = (
        run_session(make_session(result.path, threads=1), ["logits"], {"image": image})[0] for result in (coarse, whole)
    )
    assert found.shape == (1, 3, 36, 52)
    again = nn.functional.interpolate(torch.from_numpy(found), size=(72, 104), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(again.numpy(), full, atol=1e-4 * np.abs(full).max())


def test_class_maps_have_no_coarse_form(tmp_path):
    checkpoint = save(tmp_path / "net.safetensors", "tiny")
    with pytest.raises(ConfigError, match="coarse goes with head logits"):
        export(checkpoint, out=tmp_path / "net.onnx", head="classmap", coarse=True)


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_pruned_network_exports_to_a_clean_static_graph(tmp_path, name, capfd):
    checkpoint = save(tmp_path / "net.safetensors", name)
    prune(checkpoint, out=tmp_path / "cut.safetensors", ratio=0.25, round_to=2)
    result = export(tmp_path / "cut.safetensors", out=tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")  # the exporter's chatter stays inside
    model = onnx.load(result.path)
    assert {node.op_type for node in model.graph.node} <= CLEAN
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, [d.dim_value for d in image.type.tensor_type.shape.dim]) == ("image", [1, 3, 72, 104])
    assert (logits.name, [d.dim_value for d in logits.type.tensor_type.shape.dim]) == (
        "logits",
        [1, 3, 72, 104],
    )
    assert sorted(path.name for path in tmp_path.glob("net.onnx*")) == ["net.onnx", "net.onnx.json"]
    content = result.path.read_bytes()
    assert b"site-packages" not in content
    assert __file__.rsplit("/tests/", 1)[0].encode() not in content
    manifest = load_manifest(result.path)
    assert manifest == result.manifest
    assert (manifest.kind, manifest.input.name, manifest.output.name) == ("onnx", "image", "logits")
    assert manifest.parent_sha256 == load_manifest(tmp_path / "cut.safetensors").sha256
    assert [stage.name for stage in manifest.stages] == ["prune", "export"]
    assert manifest.parity.frames == 4
    assert manifest.parity.argmax_agreement >= 0.999
    assert manifest.parity.max_abs_error < 1e-3


@pytest.mark.long
def test_class_map_and_confidence_come_out(tmp_path):
    checkpoint = save(tmp_path / "net.safetensors", "tiny", size=(64, 96))
    plain = export(checkpoint, out=tmp_path / "plain.onnx")
    result = export(checkpoint, out=tmp_path / "sure.onnx", head="confidence")
    assert (result.manifest.output.kind, result.manifest.output.confidence) == ("classmap", True)
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    prepared = {"image": Preprocessor(result.manifest.input)(frame)}
    (logits,) = run_session(make_session(plain.path, threads=1), ["logits"], prepared)
    (output,) = run_session(make_session(result.path, threads=1), ["confidence"], prepared)
    assert (output.shape, output.dtype) == ((1, 2, 64, 96), np.uint8)
    assert np.array_equal(class_map(output, result.manifest), class_map(logits, plain.manifest))
    weights = np.exp(logits[0] - logits[0].max(axis=0))
    sure = 255 * (weights / weights.sum(axis=0)).max(axis=0)[2::4, 2::4]
    assert np.abs(output[0, 1].astype(float) - sure.repeat(4, axis=0).repeat(4, axis=1)).max() <= 0.6
    cooler = export(checkpoint, out=tmp_path / "cooler.onnx", head="confidence", temperature=4)
    (output,) = run_session(make_session(cooler.path, threads=1), ["confidence"], prepared)
    weights **= 1 / 4
    sure = 255 * (weights / weights.sum(axis=0)).max(axis=0)[2::4, 2::4]
    assert np.abs(output[0, 1].astype(float) - sure.repeat(4, axis=0).repeat(4, axis=1)).max() <= 0.6


def test_confidence_needs_a_channel_per_class(tmp_path):
    torch.manual_seed(0)
    module = create_model("unet", 1).eval()
    outputs = [{"classes": ["tissue", "membrane"], "activation": "sigmoid"}]
    spec = InputSpec(height=64, width=64)
    manifest = Manifest(kind="checkpoint", input=spec, outputs=outputs, model=ModelSpec(factory="unet"))
    save_checkpoint(tmp_path / "net.safetensors", module, manifest)
    with pytest.raises(ConfigError, match="a channel per class"):
        export(tmp_path / "net.safetensors", out=tmp_path / "net.onnx", head="confidence")


@pytest.mark.long
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_frame_in_class_map_out(tmp_path, color):
    checkpoint = save(tmp_path / "net.safetensors", "tiny", color=color)
    result = export(checkpoint, out=tmp_path / "a.onnx", head="classmap", input="frame", height=64, width=96)
    spec = result.manifest.input
    assert (spec.kind, spec.height, spec.width, spec.color) == ("frame", 64, 96, color)
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    session = make_session(result.path, threads=1)
    (output,) = run_session(session, ["classmap"], {"image": Preprocessor(spec)(frame)})
    assert output.dtype == np.uint8
    assert output.shape == (1, 64, 96)
    network, manifest = load_checkpoint(checkpoint)
    normalized = manifest.input.model_copy(update={"height": 64, "width": 96})
    with torch.no_grad():
        logits = network(torch.from_numpy(Preprocessor(normalized)(frame))).numpy()
    expected = class_map(logits, result.manifest.with_output(kind="logits"))
    assert np.mean(class_map(output, result.manifest) == expected) > 0.999
    assert len(np.unique(output)) > 1


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_normalization_in_the_graph_is_the_preprocessors(color):
    one = color == "gray"
    spec = InputSpec(
        height=32,
        width=64,
        color=color,
        mean=(110.0,) if one else (110.331, 108.409, 105.033),
        std=(18392.13,) if one else (18392.13, 18536.205, 17825.52),
    )
    frame = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    ordered = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if color == "rgb" else frame
    actual = FrameNormalization(spec)(torch.from_numpy(ordered[None])).numpy()
    np.testing.assert_allclose(actual, Preprocessor(spec)(frame), rtol=1e-5, atol=1e-9)


@pytest.mark.long
def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    checkpoint = save(tmp_path / "net.safetensors", "tiny")
    manifest = load_manifest(checkpoint)

    def with_other_weights(path, manifest, network, frames, name):
        with torch.no_grad():
            network.classifier.weight[0] *= -1
        return parity.measure_parity(path, manifest, network, frames, name)

    monkeypatch.setattr("jetseg.exporters.onnx_export.measure_parity", with_other_weights)
    with pytest.raises(QualityError, match=r"net\.onnx does not compute what the checkpoint computes"):
        export(checkpoint, out=tmp_path / "net.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.safetensors", "net.safetensors.json"]
    assert load_manifest(checkpoint) == manifest


@pytest.mark.parametrize(
    ("agreement", "error", "passes"),
    [(1.0, 1e-4, True), (0.9985, 1e-4, False), (1.0, 0.2, False), (1.0, float("nan"), False), (0.9995, None, True)],
)
def test_parity_needs_both_classes_and_logits(agreement, error, passes):
    with nullcontext() if passes else pytest.raises(QualityError, match="over 4 frames"):
        parity._check("net.onnx", 4, agreement, error, scale=10.0)


@pytest.mark.parametrize("head", ["logits", "classmap", "sigmoid"])
@pytest.mark.parametrize(("apart", "passes"), [(0.0, True), (1e-6, True), (1e-2, False)])
def test_classes_that_are_tied_may_be_told_apart_by_rounding(tmp_path, head, apart, passes):
    """The file has the other class on top at every pixel; the checkpoint's scores say how near the two are."""
    end = helper.make_node("ArgMax", ["scores"], ["y"], axis=1, keepdims=0)
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["y" if head != "classmap" else "scores"])]
    names = ("no", "yes") if head == "sigmoid" else ("one", "other")
    channels = 1 if head == "sigmoid" else 2
    bias = np.float32([1e-9] if head == "sigmoid" else [1, 1 + 1e-6])
    weights = {"w": np.zeros((channels, 3, 1, 1), np.float32), "b": bias}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("y", TensorProto.INT64 if head == "classmap" else TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph([*nodes, *([end] if head == "classmap" else [])], "tied", [image], [made], tensors)
    path = tmp_path / "tied.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    output = {"kind": "logits" if head == "sigmoid" else head, "classes": names}
    output |= {"activation": "sigmoid"} if head == "sigmoid" else {}
    manifest = Manifest.model_validate({"input": {"height": 8, "width": 8}, "outputs": [output]})
    torch_bias = torch.tensor([-apart] if head == "sigmoid" else [1 + apart, 1.0])

    class Tied(nn.Module):
        def forward(self, x):
            scores = torch_bias.reshape(1, -1, 1, 1).expand(1, channels, 8, 8).clone()
            scores[:, -1, 0, 0] = 10  # the scale of the logits
            return scores

    frames = parity.parity_frames(manifest, None, 1)
    refused = nullcontext() if passes else pytest.raises(QualityError, match="does not compute")
    with mock.patch.object(parity, "MAX_RELATIVE_ERROR", 1.0), refused:
        assert parity.measure_parity(path, manifest, Tied().eval(), frames).argmax_agreement == 1.0


class Choosy(nn.Module):
    """Chooses an operation by the values in a tensor, which no static graph can."""

    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


def test_network_that_cannot_be_exported_is_explained(capfd):
    with pytest.raises(ArtifactError, match=r"could not be exported.*must not choose operations"):
        export_module(Choosy().eval(), torch.zeros(1, 3, 8, 8), "logits")
    assert capfd.readouterr() == ("", "")


def test_missing_onnxscript_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"\[train\]"):
        export_module(nn.Identity(), torch.zeros(1), "logits")


@pytest.mark.long
def test_verb(tmp_path):
    checkpoint = save(tmp_path / "net.safetensors", "tiny")
    outcome = CliRunner().invoke(app, ["export", str(checkpoint), "--input", "frame", "--json"])
    assert outcome.exit_code == 0, outcome.output
    content = json.loads(outcome.stdout)
    assert content["onnx"] == str(tmp_path / "net.onnx")
    assert content["parity"]["argmax_agreement"] >= 0.999
    assert content["size_bytes"] == (tmp_path / "net.onnx").stat().st_size


def test_parity_frames_are_reproducible_and_of_the_inputs_size():
    manifest = Manifest(classes=CLASSES, input=InputSpec(height=50, width=70))
    first, second = (parity.parity_frames(manifest, None, 2) for _ in range(2))
    assert [frame.shape for frame in first] == [(50, 70, 3)] * 2
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
