"""Layers of a plan are timed by its profiler and described by its inspector."""

import json

import pytest
from small_network import small_manifest, write_small_network
from tensorrt_networks import request

from jetseg.engine.tensorrt.backend import TensorRT
from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.engine.tensorrt.step_times import read_steps
from jetseg.network import open_network, save_manifest

FORMAT = {"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}
CONVOLUTION = {
    "Name": "conv + relu",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Dimensions": [1, 16, 24, 32], **FORMAT}],
    "Outputs": [{"Name": "y", "Dimensions": [1, 32, 12, 16], **FORMAT}],
    "ParameterType": "Convolution",
    "Kernel": [3, 3],
    "Stride": [2, 2],
    "Dilation": [1, 1],
    "OutMaps": 32,
    "Groups": 1,
    "Activation": "RELU",
}
"""As TensorRT's documentation of the engine inspector shows a layer."""


def unit_of(**changes):
    (step,) = read_steps(json.dumps({"Layers": [{**CONVOLUTION, **changes}]}), {"conv + relu": 0.5})
    return step.unit


def test_a_convolution_is_described_with_what_is_fused():
    unit = unit_of()
    assert str(unit) == "Conv tensor 1x16x24x32 > 1x32x12x16 w32x16x3x3 s2x2 +Relu"
    assert unit.macs == 32 * 12 * 16 * 16 * 9


def test_groups_and_a_shortcut_are_seen():
    shortcut = {"Name": "z", "Dimensions": [1, 16, 24, 32], **FORMAT}
    unit = unit_of(Groups=16, Outputs=CONVOLUTION["Inputs"], Inputs=[*CONVOLUTION["Inputs"], shortcut])
    assert (unit.weights, unit.groups, unit.fused) == ((16, 1, 3, 3), 16, ("Add", "Relu"))


@pytest.mark.parametrize(
    ("changes", "operator"),
    [
        ({"ParameterType": "Pooling", "PoolingType": "MAX"}, "MaxPool"),
        ({"ParameterType": "PointWise"}, "Pointwise"),
        ({"ParameterType": None, "LayerType": "kgen"}, "kgen"),
    ],
)
def test_other_layers_have_onnx_words_where_there_are_some(changes, operator):
    assert unit_of(**changes).operator == operator


def test_a_layer_without_shapes_has_a_time_only():
    steps = read_steps(json.dumps({"Layers": ["named only"]}), {"named only": 0.25})
    assert [(step.ms, step.unit, step.tensor) for step in steps] == [(0.25, None, None)]


def test_a_layer_is_of_the_tensor_that_it_makes_and_may_cover_several_nodes():
    (step,) = read_steps(json.dumps({"Layers": [CONVOLUTION]}), {"conv + relu": 0.5})
    assert (step.tensor, step.covers) == ("y", True)


def test_the_fastest_run_of_each_layer_is_kept(double, tmp_path):
    made = double()
    path = tmp_path / "small.engine"
    report = TensorRT().build(request(write_small_network(tmp_path), small_manifest(), "fp32", path, TensorRTOptions()))
    manifest = small_manifest().changed(kind="engine", backend="tensorrt", precision="fp32")
    save_manifest(path, manifest, device=report.device, versions=dict(report.toolchain))
    made.events.clear()
    (steps,) = TensorRT().step_times([open_network(path)], 1)
    assert made.events.count("run") == 50
    assert steps[0].ms == pytest.approx(0.011)  # the double's first run is the fastest
    assert made.memory == {}
