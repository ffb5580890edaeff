"""Each layer and each quantizer is judged alone."""

import numpy as np
import pytest
from small_network import HEIGHT, WIDTH, small_manifest

from jetseg.config import changed
from jetseg.onnx.layerwise import LayerwiseRunner
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.ranges import TensorRange
from jetseg.quantization.sensitivity import layer_sensitivity


@pytest.fixture
def feeds():
    rng = np.random.default_rng(0)
    return [{"image": rng.normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)} for _ in range(2)]


@pytest.fixture
def tensors(small, feeds):
    """Ranges that clip nothing."""
    runner, found = LayerwiseRunner(small, feeds[:1]), {}
    for node in (None, *small.nodes):
        if node is not None:
            runner.run(node)
        for name, values in runner.frames[0].items():
            low, high = float(values.min()), float(values.max())
            amax = max(-low, high) * 1.2
            found[name] = TensorRange(low=low, high=high, amax=amax, seen_low=low, seen_high=high)
    return found


def clipped(entry: TensorRange) -> TensorRange:
    return changed(entry, low=entry.low / 50, high=entry.high / 50, amax=entry.amax / 50)


def effects(graph, tensors, feeds, policy="conv-inputs", backend="tensorrt"):
    before = graph.model.SerializeToString()
    arithmetic = ARITHMETICS[backend]
    placement = arithmetic.place(graph, policy, tensors)
    found = layer_sensitivity(graph, small_manifest(), arithmetic, placement, tensors, feeds)
    assert graph.model.SerializeToString() == before
    return found


def test_the_quantizer_that_clips_is_named(small, tensors, feeds):
    found = effects(small, tensors | {"both": clipped(tensors["both"])}, feeds)
    worst, others = found[0], found[1:]
    assert worst.layer == "c3"
    assert all(effect.agreement > 95 > worst.agreement for effect in others)
    alone = {part.tensor: part.agreement for part in worst.quantizers}
    assert set(alone) == {"both", "w3"}
    assert alone["both"] < 95 < alone["w3"]


def test_quantizers_of_an_addition_are_judged_as_well(small, tensors, feeds):
    tensors |= {"r1": clipped(tensors["r1"])}
    layers = {effect.layer for effect in effects(small, tensors, feeds)}
    found = {effect.layer: effect for effect in effects(small, tensors, feeds, "full")}
    assert "sum" not in layers
    assert [part.tensor for part in found["sum"].quantizers] == ["r1"]
    assert found["sum"].agreement < 95


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_layers_come_with_what_their_latency_depends_on(small, tensors, feeds, backend):
    shapes = {effect.layer: effect.shape for effect in effects(small, tensors, feeds, backend=backend)}
    depthwise = shapes["c3"]
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels) == (16, 16, 16)
    assert (depthwise.height, depthwise.width) == depthwise.output_size == (HEIGHT // 2, WIDTH // 2)


def test_what_a_layer_writes_as_integers_is_judged_with_it(small, tensors, feeds):
    """Only the sum reads `c2`, which is no layer."""
    tensors |= {"c2": clipped(tensors["c2"])}
    in_float = {effect.layer: effect for effect in effects(small, tensors, feeds)}
    assert in_float["c2"].agreement > 95, "TensorRT writes float"
    found = {effect.layer: effect for effect in effects(small, tensors, feeds, backend="onnxruntime")}
    alone = {part.tensor: part.agreement for part in found["c2"].quantizers}
    assert alone["c2"] < 95 < alone["w2"]


def test_each_quantizer_counts_once_with_all_who_must_be_in_float_to_avoid_it(small, tensors, feeds):
    found = {effect.layer: effect for effect in effects(small, tensors, feeds, backend="onnxruntime")}
    assert list(found)[:3] == sorted(("n1", "c2", "c3"), key=lambda name: found[name].agreement), "layers come first"
    parts = {(layer, part.tensor): part.nodes for layer, effect in found.items() for part in effect.quantizers}
    assert parts["n1", "image"] == ("n1",)
    assert set(parts["n1", "r1"]) >= {"n1", "c2", "sum"}
    assert parts["c2", "r1"] == ()
    assert parts["c2", "w2"] == ("c2",)
