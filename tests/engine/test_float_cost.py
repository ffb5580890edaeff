"""What it costs to take layers back to float is measured."""

from jetseg.engine.float_cost import time_in_float
from jetseg.onnx.layer_shape import LayerShape
from jetseg.quantization.sensitivity import LayerEffect


def test_a_large_layer_costs_more_to_take_back(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = LayerShape(8, 8, 12, 16)
    large = LayerShape(128, 128, 48, 64, kernel=(3, 3), padding=(1, 1))
    given = [LayerEffect("a", 98.0, shape=small), LayerEffect("b", 98.0, shape=large), LayerEffect("sum", 98.0)]
    one, other, no_layer = time_in_float(given, "onnxruntime", threads=1)
    assert other.float_ms > 0.1 > one.float_ms
    assert no_layer.float_ms is None
