"""Layers go back to float where that wins most per millisecond."""

from pathlib import Path

from small_network import small_manifest

from jetseg.engine.backend import BuildReport
from jetseg.engine.config import BuildConfig
from jetseg.engine.float_cost import gain_per_ms, time_in_float
from jetseg.engine.result import BuildResult
from jetseg.engine.retries import attempts
from jetseg.onnx.layer_shape import LayerShape
from jetseg.quantization.sensitivity import LayerEffect

RANGES = object()
"""Stands for ranges, which are only handed on."""


def test_a_large_layer_costs_more_to_take_back(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = LayerShape(8, 8, 12, 16)
    large = LayerShape(128, 128, 48, 64, kernel=(3, 3), padding=(1, 1))
    given = [LayerEffect("a", 98.0, shape=small), LayerEffect("b", 98.0, shape=large), LayerEffect("sum", 98.0)]
    one, other, no_layer = time_in_float(given, "onnxruntime", threads=1)
    assert other.float_ms > 0.1 > one.float_ms
    assert no_layer.float_ms is None
    assert gain_per_ms(one) > gain_per_ms(other)


def test_without_latency_the_most_harmful_layer_comes_first():
    assert gain_per_ms(LayerEffect("a", 97.0)) > gain_per_ms(LayerEffect("b", 98.0))
    assert gain_per_ms(LayerEffect("a", 99.0, float_ms=0.1)) > gain_per_ms(LayerEffect("b", 97.0, float_ms=1.0))


def test_attempts_take_back_what_wins_most_per_millisecond():
    harmful = (
        LayerEffect("dear", 90.0, float_ms=10.0),
        LayerEffect("worth it", 95.0, float_ms=1.0),
        LayerEffect("free", 99.0, float_ms=-0.2),
    )
    rejected = BuildResult(
        Path("e.rejected.onnx"), small_manifest(), BuildReport((), ()), None, None, ("mIoU fell",), harmful
    )
    kept = []
    for attempt in attempts(BuildConfig(auto=True), RANGES, lambda config: RANGES, calibrated=True):
        kept.append(attempt.config.keep_float)
        attempt.result = rejected
    assert len(kept) == 2 + 3  # calibrated anew by the same method is not tried again
    assert [names for names in kept if names] == [
        ("free",),
        ("free", "worth it"),
        ("free", "worth it", "dear"),
    ]
