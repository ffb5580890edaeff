"""Layers are timed on the backend, once; what the timer says is in proportion to the work."""

import json

import numpy as np
import onnx
import pytest

from jetseg.engine import layer_timer
from jetseg.engine.layer_graph import ends_of, piece_manifest, piece_model
from jetseg.engine.layer_timer import LayerTimer, latency_cache_path, quiet_latencies_ms
from jetseg.engine.timing import open_for_timing
from jetseg.errors import ConfigError
from jetseg.onnx.graph import Graph
from jetseg.onnx.layer_shape import LayerLatency, LayerShape

SAME = {"kernel": (3, 3), "padding": (1, 1)}
PIECES = {
    "plain": (LayerShape(16, 24, 12, 16, **SAME),),
    "image": (LayerShape(3, 8, 12, 16, **SAME, stride=(2, 2)),),
    "depthwise": (LayerShape(16, 16, 12, 16, **SAME, groups=16),),
    "dilated": (LayerShape(8, 8, 12, 16, kernel=(3, 3), padding=(2, 2), dilation=(2, 2)),),
    "transposed": (LayerShape(8, 16, 6, 8, kernel=(2, 2), stride=(2, 2), transposed=True),),
    "chain": (
        LayerShape(8, 4, 12, 16, kernel=(3, 1), padding=(1, 0)),
        LayerShape(4, 8, 12, 16, kernel=(1, 3), padding=(0, 1)),
    ),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_are_whole_networks_of_the_shapes_that_they_claim(name, tmp_path):
    piece = PIECES[name]
    model = piece_model(piece)
    onnx.checker.check_model(model, full_check=True)
    spec = piece_manifest(piece).input
    for precision in ("fp32", "int8"):
        engine = open_for_timing(model, piece_manifest(piece), tmp_path / "p.onnx", "onnxruntime", precision, 1)
        output = engine.infer(np.ones((1, spec.channels, spec.height, spec.width), np.float32))
        assert output.shape == (1, 1, 1, 1)
    scored = Graph(model)
    assert scored.shapes[scored.producer["score"].input[0]] == (1, 1, *piece[-1].output_size)
    assert len(ends_of(piece)) == (1 if name == "image" else 2)


def test_more_work_takes_longer_and_nothing_is_timed_twice(tmp_path, monkeypatch):
    small, large = LayerShape(16, 16, 24, 32, **SAME), LayerShape(64, 64, 24, 32, **SAME)
    cache = tmp_path / "latency" / "cpu.json"
    times = LayerTimer("onnxruntime", "fp32", 1, cache)([(small,), (large,)])
    assert times[1] > 3 * times[0] > 0
    monkeypatch.setattr(layer_timer, "quiet_latencies_ms", None)  # calling it would fail
    assert LayerTimer("onnxruntime", "fp32", 1, cache)([(large,), (small,)]) == times[::-1]
    assert "conv 64>64 3x3 p1x1 @24x32" in json.loads(cache.read_text())


def test_a_damaged_cache_is_measured_anew(tmp_path):
    cache = tmp_path / "cpu.json"
    cache.write_text("{")
    assert LayerTimer("onnxruntime", "fp32", 1, cache)([(LayerShape(8, 8, 6, 8),)])[0] > 0
    assert json.loads(cache.read_text())


def test_caches_of_devices_and_precisions_are_apart():
    paths = {
        latency_cache_path("onnxruntime", precision, threads) for precision in ("fp32", "int8") for threads in (1, 2)
    }
    assert len(paths) == 4


def test_the_fastest_run_counts():
    now = [0.0]
    durations = {"a": iter([9, 4, 2, 5] * 9), "b": iter([9, 8, 7, 8] * 9)}

    def call(name):
        now[0] += next(durations[name]) * 1e-3

    calls = {name: (lambda name=name: call(name)) for name in durations}
    found = quiet_latencies_ms(calls, rounds=2, seconds=0.001, clock=lambda: now[0])
    assert found == pytest.approx({"a": 2.0, "b": 7.0})


def test_a_precision_that_the_backend_lacks_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no fp16 kernels"):
        LayerTimer("onnxruntime", "fp16", 1, tmp_path / "c.json")([PIECES["plain"]])


def test_latency_is_interpolated_and_never_negative():
    latency = LayerLatency([8, 16], [8, 16, 32], [[1.0, 2.0, 4.0], [2.0, 4.0, 8.0]])
    assert latency(8, 16) == 2.0
    assert latency(12, 24) == pytest.approx(4.5)
    assert latency(8, 4) == pytest.approx(0.5)
    assert latency(4, 1) == pytest.approx(0.0625)
    assert LayerLatency([8], [8, 16], [[1.0, 9.0]])(8, 4) == 0.0
