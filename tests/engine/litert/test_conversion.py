"""litert-torch itself, a minute for each network."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import write_task_network

from jetseg.artifact_file import save_onnx
from jetseg.engine.backend import BuildRequest, find_backend
from jetseg.engine.engine import open_engine
from jetseg.engine.timing import noise_ranges
from jetseg.errors import ArtifactError
from jetseg.evaluation.benchmark import noise_frame
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models.registry import create_model
from jetseg.network import Network, open_network, save_manifest
from jetseg.onnx.session import make_session, run_session
from jetseg.output_spec import OutputSpec
from jetseg.preprocess import Preprocessor
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.registry import NETWORKS
from jetseg.training.checkpoint import save_checkpoint
from jetseg.workflows.exporting import export

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("litert_torch") is None, reason="litert-torch is not installed"),
    pytest.mark.timeout(900),
]


def exported(name: str, folder: Path, **settings) -> Network:
    spec = InputSpec(height=128, width=160, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    outputs = (OutputSpec(classes=("road", "car", "sky")),)
    manifest = Manifest(kind="checkpoint", outputs=outputs, input=spec, model=ModelSpec(factory=name))
    module = create_model(name, 3).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # scales as of a trained network
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    save_checkpoint(folder / "net.safetensors", module, manifest)
    return export(folder / "net.safetensors", **settings).network


def built(network: Network, precision: str, place: Path) -> Network:
    backend, ranges = find_backend("litert"), noise_ranges(network) if precision == "int8" else None
    scheme = backend.find_scheme(precision, None)
    report = backend.build(BuildRequest(network, precision, ranges, place, frozenset(), backend.options(), scheme))
    assert len(report.integer_layers) == 0 if precision == "fp32" else report.integer_layers
    save_manifest(place, network.manifest.changed(kind="engine", precision=precision, backend="litert", parity=None))
    return open_network(place)


@pytest.mark.parametrize("name", NETWORKS.own)
def test_networks_of_the_registry_are_exact_in_float_and_as_simulated_in_int8(name, tmp_path):
    network = exported(name, tmp_path)
    given = Preprocessor(network.manifest.input)(noise_frame(network.manifest.input))
    graph, arithmetic, ranges = network.float_graph(), ARITHMETICS["litert"], noise_ranges(network)
    placement = arithmetic.place(graph, "conv-inputs", ranges.tensors)
    simulated = make_session(arithmetic.render(graph, placement, ranges.tensors).SerializeToString(), optimize=False)
    (expected,) = run_session(simulated, ["logits"], {"image": given})
    with (
        open_engine(network) as parent,
        open_engine(built(network, "fp32", tmp_path / "net.fp32.tflite")) as single,
        open_engine(built(network, "int8", tmp_path / "net.int8.tflite")) as integers,
    ):
        exact, found = np.array(parent.infer(given)), np.array(integers.infer(given))
        np.testing.assert_allclose(single.infer(given), exact, atol=1e-4 * np.abs(exact).max())
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.98  # untrained, on noise: scores lie close together
    assert np.abs(found - expected).max() < 0.1 * np.abs(exact).max()


def test_a_network_of_several_tasks_gives_all_of_them(tmp_path):
    scene, lane = OutputSpec(name="scene", classes=("road", "car", "sky")), OutputSpec(name="lane", task="binary")
    tasks = (scene, lane, OutputSpec(name="depth", task="depth"))
    network = open_network(write_task_network(tmp_path / "net.onnx", tasks))
    given = Preprocessor(network.manifest.input)(noise_frame(network.manifest.input))
    graph, arithmetic, ranges = network.float_graph(), ARITHMETICS["litert"], noise_ranges(network)
    placement = arithmetic.place(graph, "conv-inputs", ranges.tensors)
    simulated = make_session(arithmetic.render(graph, placement, ranges.tensors).SerializeToString(), optimize=False)
    expected = run_session(simulated, ["scene", "lane", "depth"], {"image": given})
    with (
        open_engine(network) as parent,
        open_engine(built(network, "fp32", tmp_path / "net.fp32.tflite")) as single,
        open_engine(built(network, "int8", tmp_path / "net.int8.tflite")) as integers,
    ):
        exact, floats, rounded = (
            [np.array(values) for values in engine.infer_all(given)] for engine in (parent, single, integers)
        )
    for one, other, wanted, found in zip(exact, floats, expected, rounded, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * np.abs(one).max())
        assert found.shape == one.shape
        assert np.abs(found - wanted).max() < 0.1 * np.abs(one).max()


def test_a_graph_that_takes_pixels_and_gives_classes_is_converted_whole(tmp_path):
    network = exported("tiny", tmp_path, input="frame", head="classmap")
    frame = noise_frame(network.manifest.input)
    with open_engine(network) as parent, open_engine(built(network, "int8", tmp_path / "net.tflite")) as engine:
        assert np.mean(parent.segment(frame) == engine.segment(frame)) > 0.9


def test_what_has_no_torch_form_is_named(tmp_path):
    network = exported("tiny", tmp_path)
    model = network.float_graph().model
    first = next(node for node in model.graph.node if node.op_type == "Relu")
    first.op_type = "Softsign"
    save_onnx(tmp_path / "odd.onnx", model, network.manifest.changed(kind="onnx", parity=None))
    with pytest.raises(ArtifactError, match="Softsign"):
        built(open_network(tmp_path / "odd.onnx"), "fp32", tmp_path / "odd.tflite")
