"""The upsampling at a network's end, left out."""

import numpy as np
import onnx
import pytest
from small_network import CLASSES, HEIGHT, WIDTH, small_network

from jetseg.errors import ArtifactError
from jetseg.onnx.session import make_session, run_session
from jetseg.onnx.upsampling import last_upsampling, without_last_upsampling


def run(model, output):
    session = make_session(model.SerializeToString(), threads=1)
    image = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    return run_session(session, [output], {"image": image})[0]


def test_the_logits_are_those_before_the_upsampling():
    model = small_network()
    assert last_upsampling(model) == 2
    coarse = without_last_upsampling(model)
    inner = onnx.ModelProto()
    inner.CopyFrom(model)
    inner.graph.output.append(onnx.helper.make_tensor_value_info("c4", onnx.TensorProto.FLOAT, None))
    found = run(coarse, "logits")
    assert found.shape == (1, len(CLASSES), HEIGHT // 2, WIDTH // 2)
    np.testing.assert_array_equal(found, run(inner, "c4"))
    assert "Resize" in {node.op_type for node in model.graph.node}
    assert last_upsampling(coarse) == 1


def test_a_network_that_does_not_end_with_an_upsampling_is_refused():
    coarse = without_last_upsampling(small_network())
    with pytest.raises(ArtifactError, match="no upsampling"):
        without_last_upsampling(coarse)
