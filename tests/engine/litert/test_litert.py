import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from small_network import write_small_network

from jetseg.config import changed
from jetseg.data.dataset import open_split
from jetseg.engine.backend import find_backend
from jetseg.engine.engine import open_engine
from jetseg.engine.litert.library import open_interpreter
from jetseg.engine.litert.model_file import ModelFile
from jetseg.engine.simulation import simulate_litert
from jetseg.errors import ArtifactError, ConfigError, QualityError
from jetseg.evaluation.benchmark import noise_frame
from jetseg.network import open_network
from jetseg.preprocess import Preprocessor
from jetseg.quantization.qdq.schemes import weight_scales
from jetseg.quantization.ranges import open_ranges
from jetseg.workflows.building import build_engine

pytestmark = pytest.mark.usefixtures("converted")
STEP = 1 / 128
"""Of the 8-bit numbers of the head's input, about: the simulation rounds sums at the last place otherwise."""


def build(model, data, **changes):
    settings = {"split": "all", "eval_split": "all", "images": 4, "preset": "fast", "backend": "litert"}
    name = f"small.{changes.get('precision', 'int8')}.tflite"
    settings |= {"data": data, "out": model.parent / name, "force": True, "estimate": False, "min_agreement": 80}
    return build_engine(model, **{**settings, "max_drop": 20, "max_class_drop": 40, **changes})


def outputs(model, path):
    spec = open_network(model).manifest.input
    given = Preprocessor(spec)(noise_frame(spec))
    with open_engine(model) as parent, open_engine(path, threads=1) as engine:
        return np.array(parent.infer(given)), np.array(engine.infer(given))


def test_fp32_computes_what_the_network_computes_in_the_networks_layout(model, data):
    result = build(model, data, precision="fp32")
    expected, found = outputs(model, result.path)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert result.manifest.backend == "litert"
    assert result.manifest.toolchain["ai-edge-litert"]
    assert result.agreement.percent == 100


def test_half_precision_halves_the_weights(model, data):
    result = build(model, data, precision="fp16")
    expected, found = outputs(model, result.path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3 * np.abs(expected).max())
    file = ModelFile(result.path.read_bytes())
    assert "FLOAT16" in {file.type(place) for place in range(len(file.tensors))}


def test_every_scale_in_the_file_is_that_of_its_range_and_every_weight_is_the_networks(model, data):
    result = build(model, data)
    ranges = open_ranges(result.path.with_name("small.int8.tflite.ranges.json"), open_network(model))
    file = ModelFile(result.path.read_bytes())
    expected = set()
    for name in ("image", "r1", "c2", "r2", "both", "r3"):
        entry = ranges.tensors[name]
        low, high = min(entry.low, 0.0), max(entry.high, 0.0)
        scale = (high - low) / 255
        expected.add((np.float32(scale), round(-low / scale) - 128))
    scales = [file.quantization(place) for place in range(len(file.tensors)) if file.type(place) == "INT8"]
    activations = {(scale[0], int(zero[0])) for scale, zero in scales if len(scale) == 1}
    assert activations == expected
    convolutions = [operator for operator in file.operators if "CONV" in file.kind(operator)]
    integers = [operator for operator in convolutions if file.type(int(operator.inputs[1])) == "INT8"]
    assert [file.kind(operator) for operator in integers] == ["CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D"]
    second = file.constant(int(integers[1].inputs[1])).transpose(0, 3, 1, 2)
    scale, _ = file.quantization(int(integers[1].inputs[1]))
    float_weight = open_network(model).float_graph().weight("w2")
    np.testing.assert_array_equal(scale, weight_scales(float_weight, 0))
    np.testing.assert_allclose(second * scale[:, None, None, None], float_weight, atol=scale.max() / 2 + 1e-7)
    assert np.abs(second).max() == 127


@pytest.mark.parametrize("integers", ["inner", "all", "ends"])
def test_int8_is_its_exact_simulation(model, data, integers):
    result = build(model, data, options={"integers": integers})
    ranges = open_ranges(result.path.with_name("small.int8.tflite.ranges.json"), open_network(model))
    frames = open_split(data, "all")
    given = [Preprocessor(result.manifest.input)(frames[index].image_hwc_u8) for index in range(3)]
    with (
        simulate_litert(ranges, heads=integers != "inner") as simulated,
        open_engine(result.path, threads=1) as engine,
    ):
        pairs = [(np.array(simulated.infer(one)), np.array(engine.infer(one))) for one in given]
    largest = max(np.abs(expected).max() for expected, _ in pairs)
    assert max(np.abs(expected - found).max() for expected, found in pairs) < 2 * STEP * largest
    same = np.mean([expected.argmax(1) == found.argmax(1) for expected, found in pairs])
    assert same > (0.99 if integers == "inner" else 0.97)  # scores of 8 bits tie
    file = ModelFile(result.path.read_bytes())
    ends = {file.type(place) for place in (*file.inputs, *file.outputs)}
    assert ends == ({"INT8"} if integers == "ends" else {"FLOAT32"})
    assert result.report.float_layers == (() if integers != "inner" else ("c4",))


def test_layers_can_stay_in_float(model, data):
    result = build(model, data, keep_float=("c2",))
    assert result.report.float_layers == ("c2", "c4")
    ranges = open_ranges(result.path.with_name("small.int8.tflite.ranges.json"), open_network(model))
    frame = open_split(data, "all")[0].image_hwc_u8
    with simulate_litert(ranges, keep_float=frozenset({"c2"})) as simulated, open_engine(result.path) as engine:
        assert np.mean(simulated.segment(frame) == engine.segment(frame)) > 0.99


def test_16_bit_activations_are_their_exact_simulation(model, data):
    result = build(model, data, precision="int16")
    assert "slower" in result.report.note
    ranges = open_ranges(result.path.with_name("small.int16.tflite.ranges.json"), open_network(model))
    given = Preprocessor(result.manifest.input)(noise_frame(result.manifest.input))
    with simulate_litert(ranges, scheme="int16w8") as simulated, open_engine(result.path) as engine:
        expected, found = simulated.infer(given), engine.infer(given)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_dynamic_rounds_activations_as_they_come(model, data):
    result = build(model, data, options={"activations": "dynamic"})
    expected, found = outputs(model, result.path)
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_dynamic_needs_no_ranges_and_so_no_data(model, tmp_path):
    result = build_engine(model, backend="litert", options={"activations": "dynamic"}, out=tmp_path / "small.tflite")
    assert (result.ranges, result.manifest.calibration_sha256) == (None, None)
    assert not list(tmp_path.glob("*.ranges.json"))


def test_a_conversion_that_computes_something_else_is_refused(data, tmp_path):
    (tmp_path / "other").mkdir()
    path = write_small_network(tmp_path / "other", seed=1)
    with pytest.raises(QualityError, match="does not compute what"):
        build(path, data, precision="fp32", out=tmp_path / "other.tflite")
    assert not (tmp_path / "other.tflite").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf16"}, "has no bf16 kernels"),
        ({"precision": "fp32", "options": {"activations": "dynamic"}}, "dynamic is for int8"),
        ({"options": {"activations": "dynamic"}, "keep_float": ("c2",)}, "keep_float` is for engines with calibrated"),
    ],
)
def test_what_litert_lacks_is_refused_at_once(model, data, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(model, data, **settings)


def test_a_file_with_fewer_outputs_than_its_manifest_is_refused(model, data):
    network = build(model, data, precision="fp32").path
    opened = open_network(network)
    outputs = tuple(changed(opened.manifest.output, name=name) for name in ("logits", "lane"))
    with pytest.raises(ArtifactError, match="1 outputs; there must be one input, and 2 by its manifest"):
        find_backend("litert").open(replace(opened, manifest=opened.manifest.changed(outputs=outputs)))


def test_a_damaged_file_is_refused(model, data):
    path = build(model, data, precision="fp32").path
    content = path.read_bytes()
    with pytest.raises(ArtifactError, match="no LiteRT file"):
        ModelFile(b"\0" * 16)
    path.write_bytes(content[:-900])
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        open_engine(path)


def test_engines_that_are_opened_at_once_leave_stderr_as_it_is(converted):
    before = os.fstat(2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: open_interpreter(converted, "one of several", 1), range(8)))
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
