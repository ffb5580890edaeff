"""An image in 8 bits loses nothing if the first convolution reads its pixels."""

import numpy as np
import onnx
import pytest
from onnx import helper
from small_network import HEIGHT, WIDTH, small_manifest, small_network, write_dataset, write_small_network

from jetseg.config import changed
from jetseg.input_spec import InputSpec
from jetseg.network import save_manifest
from jetseg.onnx.session import make_session
from jetseg.preprocess import Preprocessor
from jetseg.quantization.correct import input_folding
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import observed_tensors, place_symmetric
from jetseg.quantization.qdq.schemes import TENSORRT, unsigned_scale
from jetseg.workflows.calibration import calibrate

SPEC = InputSpec(height=HEIGHT, width=WIDTH, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture
def image():
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[0, :2] = [[0, 0, 0], [255, 255, 255]]
    return Preprocessor(SPEC)(frame)


def computed(graph, image, *names):
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return make_session(model.SerializeToString()).run(list(names), {"image": image})


def test_the_network_computes_the_same_inside_and_quantizing_its_image_changes_nothing(small, image):
    (before,) = computed(small, image, "n1")
    assert input_folding.fold_input_(small, SPEC, "image")
    after, shown = computed(small, image, "n1", "image.pixels")
    np.testing.assert_allclose(after[..., 1:, 1:], before[..., 1:, 1:], atol=1e-4)
    assert np.abs(after - before).max() < 0.2 * np.abs(before).max()  # where the convolution pads
    assert (shown.min(), shown.max()) == (-128, 127)
    np.testing.assert_allclose(TENSORRT.quantizer(input_folding.RANGE)(shown), shown, atol=1e-4)
    np.testing.assert_array_equal(TENSORRT.quantizer(input_folding.RANGE)(shown), np.round(shown))
    assert unsigned_scale(input_folding.RANGE.low, input_folding.RANGE.high) == (1.0, 128)


@pytest.mark.parametrize("policy", ["conv-inputs", "full"])
def test_only_the_pixels_are_quantized(small, policy):
    input_folding.fold_input_(small, SPEC, "image")
    assert "image.pixels" in observed_tensors(small)
    for placement in (place_symmetric(small, policy, {}), place_for_integer_kernels(small)):
        assert "image.pixels" in placement.activations
        assert not {"image", "image.scaled"} & set(placement.activations)


def test_far_off_borders_are_refused(small):
    before = small.model.SerializeToString()
    assert not input_folding.fold_input_(small, changed(SPEC, mean=(0.0, 0.0, 0.0)), "image")
    assert not input_folding.fold_input_(small, changed(SPEC, kind="frame"), "image")
    assert small.model.SerializeToString() == before


def test_calibration_tries_it(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    found = calibrate(model, data=data, split="all", out=tmp_path / "r.json", corrections=("input-folding",))
    assert {trial.corrections for trial in found.record.trials} == {(), ("input-folding",)}
    if found.record.networks:
        assert found.tensors["image.pixels"].amax == 127.0


def test_a_tensor_that_only_bears_the_name_keeps_its_own_range(tmp_path):
    network, data = small_network(), write_dataset(tmp_path / "data")
    for node in network.graph.node:
        for names in (node.input, node.output):
            names[:] = ["r1.pixels" if name == "r1" else name for name in names]
    model = tmp_path / "small.onnx"
    onnx.save(network, str(model))
    save_manifest(model, small_manifest())
    found = calibrate(model, data=data, split="all", out=tmp_path / "r.json", method="minmax", preset="fast")
    assert found.tensors["r1.pixels"].amax == found.tensors["r1.pixels"].seen_high


def test_names_that_it_makes_up_are_free(small, image):
    (before,) = computed(small, image, "n1")
    for name in ("image.gain", "image.offset"):
        small.add_initializer(name, np.float32([1]))
    small.insert_after(None, helper.make_node("Mul", ["image", "image.gain"], ["image.scaled"]))
    assert input_folding.fold_input_(small, SPEC, "image")
    small.check()
    (after,) = computed(small, image, "n1")
    np.testing.assert_allclose(after[..., 1:, 1:], before[..., 1:, 1:], atol=1e-4)
