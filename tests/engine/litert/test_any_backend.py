import time

import pytest
from test_litert import build

from jetseg.engine.litert.runner import LiteRTRunner
from jetseg.engine.onnxruntime.runner import OnnxRunner
from jetseg.errors import ConfigError
from jetseg.network import load_manifest

pytestmark = pytest.mark.usefixtures("converted")


@pytest.fixture
def slow_down(monkeypatch):
    def install(runner):
        original = runner.infer

        def infer(self, network_input):
            time.sleep(0.01)
            return original(self, network_input)

        monkeypatch.setattr(runner, "infer", infer)

    return install


@pytest.mark.parametrize(
    ("slow", "winner", "suffix"), [(OnnxRunner, "litert", ".tflite"), (LiteRTRunner, "onnxruntime", ".onnx")]
)
def test_the_fastest_runtime_is_kept_and_tells_how_fast_all_were(
    model, data, tmp_path, slow_down, slow, winner, suffix
):
    slow_down(slow)
    result = build(model, data, backend="auto", out=tmp_path / "out" / "best.onnx")
    assert result.path == tmp_path / "out" / f"best{suffix}"
    manifest = load_manifest(result.path)
    assert manifest.backend == winner
    assert set(manifest.stages[-1].settings["backend_p50_ms"]) == {"onnxruntime", "litert"}
    assert set(result.latencies) == {"onnxruntime", "litert"}
    assert sum("passed" in told for told in result.attempts) == 2
    engines = [path.name for path in result.path.parent.iterdir() if path.suffix in (".onnx", ".tflite")]
    assert [name for name in engines if "ranges" not in name] == [result.path.name]


def test_options_belong_to_one_backend(model, data):
    with pytest.raises(ConfigError, match="belong to one backend"):
        build(model, data, backend="auto", options={"integers": "all"})
