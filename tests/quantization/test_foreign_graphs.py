"""Shapes that other exporters give a network: calibration takes them, or says what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import WIDTH, small_manifest, small_network, write_dataset

from jetseg.config import changed
from jetseg.engine.engine import open_engine
from jetseg.engine.result import EngineRejectedError
from jetseg.errors import ArtifactError, CalibrationError, JetsegError, ManifestError
from jetseg.manifest import Manifest
from jetseg.manifest_file import write_manifest
from jetseg.network import save_manifest
from jetseg.onnx.file import load_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session
from jetseg.output_spec import OutputSpec
from jetseg.postprocess import class_map
from jetseg.quantization.correct.activation_shift import shift_
from jetseg.quantization.ranges import CorrectedNetwork, Ranges, TensorRange
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate


def write(folder: Path, change: Callable[[onnx.ModelProto], None], manifest: Manifest | None = None) -> Path:
    model = small_network()
    change(model)
    path = folder / "foreign.onnx"
    onnx.save(model, str(path))
    save_manifest(path, manifest or small_manifest())
    return path


def calibrated(folder: Path, model: Path, **settings: object) -> Ranges:
    data = write_dataset(folder / "data")
    return calibrate(model, data=data, split="all", out=folder / "r.json", **settings)


def behind_identities(model: onnx.ModelProto) -> None:
    for name in ("w2", "b2"):
        model.graph.node.insert(0, helper.make_node("Identity", [name], [f"{name}.copy"]))
    (conv,) = [node for node in model.graph.node if node.name == "conv2"]
    conv.input[1:] = ["w2.copy", "b2.copy"]


def computed_bias(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Neg", ["b2"], ["b2.negative"]))
    (conv,) = [node for node in model.graph.node if node.name == "conv2"]
    conv.input[2] = "b2.negative"


def hard_swish(model: onnx.ModelProto) -> None:
    """Two additions of the same scalar, to 8 and to 16 channels."""
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, 1, 1), 3.0, np.float32), "three"))
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.output[0] in ("c2", "c3"):
            name, node.output[0] = node.output[0], f"{node.output[0]}.raw"
            nodes.append(helper.make_node("Add", [f"{name}.raw", "three"], [name]))
    content = [node.SerializeToString() for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(onnx.NodeProto.FromString(one) for one in content)
    onnx.checker.check_model(model)


def per_channel_product(model: onnx.ModelProto) -> None:
    """A matrix product with a vector beside the network."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones(WIDTH, np.float32), "vector"))
    model.graph.node.append(helper.make_node("MatMul", ["logits", "vector"], ["sums"]))
    model.graph.output.append(helper.make_tensor_value_info("sums", TensorProto.FLOAT, None))


NAMED = small_manifest().with_output(kind="logits", name="logits")


@pytest.mark.parametrize(
    ("change", "manifest"),
    [(behind_identities, None), (computed_bias, None), (hard_swish, None), (per_channel_product, NAMED)],
)
def test_it_is_calibrated_and_computes_the_same(tmp_path, change, manifest):
    model = write(tmp_path, change, manifest)
    ranges = calibrated(tmp_path, model)
    image = np.random.default_rng(0).normal(size=(1, 3, 24, 32)).astype(np.float32)
    (expected,) = make_session(model.read_bytes()).run(["logits"], {"image": image})
    graph = load_float_graph(model)
    (found,) = make_session(graph.model.SerializeToString()).run(["logits"], {"image": image})
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert max(trial.agreement for trial in ranges.record.trials) > 90


def test_an_identity_does_not_hide_a_layer(tmp_path):
    graph = load_float_graph(write(tmp_path, behind_identities))
    assert {"w2", "b2"} <= graph.weights.keys()
    assert "Identity" not in {node.op_type for node in graph.nodes}


def bfloat(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.data_type = TensorProto.BFLOAT16
    weight.raw_data = weight.raw_data[: len(weight.raw_data) // 2]


def branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["chosen"])],
        "inner",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["out"], then_branch=inner, else_branch=inner))


@pytest.mark.parametrize(
    ("change", "words"), [(bfloat, "weights in bfloat16"), (branch, r"branches or loops: node out \(If\)")]
)
def test_what_cannot_be_calibrated_is_named(tmp_path, change, words):
    with pytest.raises(ArtifactError, match=words):
        load_float_graph(write(tmp_path, change))


@pytest.mark.long
def test_a_rejected_engine_of_a_network_with_two_outputs_is_told_as_such(tmp_path):
    def second_output(model: onnx.ModelProto) -> None:
        model.graph.output.append(helper.make_tensor_value_info("r1", TensorProto.FLOAT, None))

    model = write(tmp_path, second_output, NAMED)
    data = write_dataset(tmp_path / "data")
    strict = {"max_drop": 0.0, "max_class_drop": 0.0, "preset": "fast", "images": 2, "method": "minmax"}
    with pytest.raises(EngineRejectedError) as caught:
        build_engine(model, data=data, split="all", eval_split="all", out=tmp_path / "e.onnx", **strict)
    assert len(caught.value.result.sensitive_layers) > 1


def test_a_truncated_weight_file_is_told(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(small_network(), str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    weights = tmp_path / "net.data"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"net\.data, which is damaged: it has 100"):
        load_onnx(path)


def test_ranges_of_a_corrected_network_do_not_serve_another_backend(tmp_path):
    model = write(tmp_path, lambda _: None)
    ranges = calibrated(tmp_path, model, targets=("onnxruntime",))
    network = CorrectedNetwork(file="x.onnx", sha256="0" * 64)
    corrected = replace(ranges, record=changed(ranges.record, networks={"onnxruntime": network}))
    with pytest.raises(CalibrationError, match="corrected for onnxruntime, not for tensorrt"):
        corrected.network_for("tensorrt")
    plain = replace(ranges, record=changed(ranges.record, networks={}))
    assert plain.network_for("tensorrt").path == model


def test_a_range_is_a_finite_number():
    with pytest.raises(ValueError, match="finite"):
        TensorRange(low=float("nan"), high=1.0, amax=1.0, seen_low=0.0, seen_high=1.0)


def test_a_shift_is_added_once_where_one_addition_reads_it_twice():
    nodes = [
        helper.make_node("LeakyRelu", ["image"], ["r"]),
        helper.make_node("Add", ["r", "r"], ["sum"]),
        helper.make_node("Conv", ["sum", "w"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 4]) for name in ("image", "y")]
    weight = numpy_helper.from_array(np.eye(2, dtype=np.float32)[:, :, None, None], "w")
    graph = Graph(helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight]), ir_version=9))
    image = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    (expected,) = make_session(graph.model.SerializeToString()).run(None, {"image": image})
    assert shift_(graph, {"r": np.array([0.5, 1.0])}, {"image": 2, "r": 2, "sum": 2, "y": 2})
    (found,) = make_session(graph.model.SerializeToString()).run(None, {"image": image})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_channel_of_scores_decides_nothing():
    lonely = small_manifest().changed(outputs=(OutputSpec(classes=("polyp",)),))
    with pytest.raises(ManifestError, match="one channel of scores.*activation: sigmoid"):
        class_map(np.zeros((1, 1, 4, 4), np.float32), lonely)


def test_an_engine_without_a_hash_is_not_opened(tmp_path):
    path = tmp_path / "e.onnx"
    onnx.save(small_network(), str(path))
    manifest = small_manifest().changed(kind="engine", backend="onnxruntime")
    write_manifest(path.with_name("e.onnx.json"), manifest)
    with pytest.raises(JetsegError, match="not its sha256"):
        open_engine(path)
