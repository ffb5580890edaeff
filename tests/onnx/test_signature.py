import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.engine.engine import open_engine
from jetseg.errors import JetsegError, ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.manifest_file import manifest_path, read_manifest
from jetseg.network import open_network, save_manifest

HEIGHT, WIDTH = 12, 16
NORMALIZED = {"scale": 1 / 255, "mean": (0.5, 0.5, 0.5)}


def write(folder, *, sigmoid, **output):
    """One channel of scores, 4 * (red + green + blue - 1.5), or its sigmoid."""
    weights = [numpy_helper.from_array(np.full((1, 3, 1, 1), 4, np.float32), "w")]
    nodes = [helper.make_node("Conv", ["image", "w"], ["score"])]
    nodes += [helper.make_node("Sigmoid", ["score"], ["probability"])] if sigmoid else []
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, channels, HEIGHT, WIDTH))
        for name, channels in (("image", 3), (nodes[-1].output[0], 1))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    path = folder / f"net{int(sigmoid)}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    spec = InputSpec(height=HEIGHT, width=WIDTH, **NORMALIZED)
    save_manifest(path, Manifest(input=spec, outputs=({"classes": ("no", "yes"), **output},)))
    return path


def test_a_sigmoid_in_the_graph_is_not_applied_again(tmp_path):
    path = write(tmp_path, sigmoid=True, activation="sigmoid", threshold=0.6)
    with pytest.raises(ManifestError, match="comes out of a sigmoid.*`activation: none`"):
        open_network(path)


@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_scores_and_probabilities_of_one_channel_decide_alike(tmp_path, threshold):
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    score = 4 * (frame / 255 - 0.5).sum(axis=2)
    expected = 1 / (1 + np.exp(-score)) > threshold
    assert 0 < expected.sum() < expected.size
    for sigmoid, activation in ((False, "sigmoid"), (True, "none")):
        with open_engine(write(tmp_path, sigmoid=sigmoid, activation=activation, threshold=threshold)) as engine:
            np.testing.assert_array_equal(engine.segment(frame), expected)


def test_one_channel_without_a_threshold_names_the_key(tmp_path):
    with pytest.raises(ManifestError, match="`activation: sigmoid`"):
        open_network(write(tmp_path, sigmoid=False))


def test_an_output_that_is_no_tensor_is_refused(tmp_path):
    path = write(tmp_path, sigmoid=False, activation="sigmoid")
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("SequenceConstruct", ["score"], ["listed"]))
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model.graph.output[0].CopyFrom(helper.make_value_info("listed", kind))
    onnx.save(model, str(path))
    save_manifest(path, read_manifest(manifest_path(path), path))
    with pytest.raises(JetsegError, match="listed"):
        open_engine(path)
