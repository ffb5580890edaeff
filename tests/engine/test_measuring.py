"""Networks are measured whole and step by step; what is drawn is a network, the same every time."""

import random

import numpy as np
import onnx
import pytest
from small_network import small_manifest, write_small_network

from jetseg.artifact_file import save_onnx
from jetseg.engine import measuring
from jetseg.engine.backend import Backend, StepTime
from jetseg.engine.measuring import measure_network
from jetseg.engine.onnxruntime.backend import OnnxRuntime
from jetseg.engine.sketch import Sketch
from jetseg.engine.sweep import draw_network
from jetseg.errors import ConfigError
from jetseg.latency.unit import Unit
from jetseg.network import open_network

UNIT = Unit("Conv", "float", ((1, 3, 8, 8),), (1, 4, 8, 8), (4, 3, 3, 3))


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(measuring, "_ROUNDS", 2)
    monkeypatch.setattr(measuring, "_TURN_SECONDS", 0.002)
    monkeypatch.setattr("jetseg.engine.onnxruntime.step_times._MOST_RUNS", 5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_steps_of_a_network_are_what_the_runtime_fused(precision, tmp_path):
    found = measure_network(open_network(write_small_network(tmp_path)), "onnxruntime", precision, 1)
    assert found.ms > 0
    products = [unit for unit, _ in found.steps if unit.macs]
    wanted = {8 * 3 * 9 * 12 * 16, 8 * 8 * 9 * 12 * 16, 16 * 9 * 12 * 16, 3 * 16 * 12 * 16}
    assert len(products) == 4
    assert {unit.groups for unit in products} == {1, 16}
    # blocks of 8 or 16 channels are filled up
    assert all(any(macs <= unit.macs <= 6 * macs for macs in wanted) for unit in products)
    assert ("QLinear" in products[1].operator) == (precision == "int8")


def test_units_are_told_without_measuring(tmp_path):
    network = open_network(write_small_network(tmp_path))
    measured = measure_network(network, "onnxruntime", "fp32", 1)
    assert [str(unit) for unit in OnnxRuntime().units(network, "fp32")] == [str(unit) for unit, _ in measured.steps]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_drawn_is_a_network_and_the_same_every_time(seed):
    model, manifest = draw_network(seed)
    onnx.checker.check_model(model, full_check=True)
    again, _ = draw_network(seed)
    assert model.SerializeToString() == again.SerializeToString()
    output = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output[0].type.tensor_type.shape
    spec = manifest.input
    assert [size.dim_value for size in output.dim] == [1, len(manifest.classes), spec.height, spec.width]


def test_drawn_networks_hold_the_operators_of_segmentation_networks():
    drawn = {node.op_type for seed in range(40) for node in draw_network(seed)[0].graph.node}
    assert drawn >= {
        *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "Resize", "Concat", "Add", "Mul", "Sigmoid"),
        *("MatMul", "Softmax", "LayerNormalization", "Transpose", "Reshape", "ReduceMean", "Erf"),
    }


def test_steps_are_timed_again_while_they_add_up_to_more_than_the_whole():
    class Busy(Backend):
        asked = 0

        def build(self, request):
            raise NotImplementedError

        def open(self, network, threads=None):
            raise NotImplementedError

        def step_times(self, engines, threads):
            self.asked += 1
            return [[StepTime("a", "Conv", [9.0, 5.0, 1.0][self.asked - 1], 1, UNIT)]]

    busy = Busy()
    (step,) = measuring._quiet_steps(None, busy, 1, ms=1.0)
    assert (busy.asked, step.ms) == (3, 1.0)


def test_a_backend_that_does_not_tell_its_steps_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(OnnxRuntime, "step_times", Backend.step_times)
    with pytest.raises(ConfigError, match="does not tell how long its steps take"):
        measure_network(open_network(write_small_network(tmp_path)), "onnxruntime", "fp32", 1)


def test_weights_are_noise_of_a_sound_scale():
    model, _ = draw_network(3)
    values = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert all(np.isfinite(value).all() for value in values)


def test_steps_without_a_name_of_their_own_have_units_too(tmp_path):
    sketch = Sketch(random.Random(0), "HardSwish")  # which ONNX Runtime takes apart, into nodes without names
    sketch.shapes["image"] = (3, 24, 32)
    sketch.conv(sketch.conv("image", 8, 3), 3, 3)
    save_onnx(tmp_path / "s.onnx", sketch.finish("image", "t3"), small_manifest().changed(kind="onnx"))
    (steps,) = OnnxRuntime().step_times([open_network(tmp_path / "s.onnx")], 1)
    assert {"HardSigmoid", "Mul"} & {step.operator for step in steps}
    assert all(step.unit is not None and step.unit.inputs for step in steps)
