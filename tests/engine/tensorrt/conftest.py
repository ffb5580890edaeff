"""The double of TensorRT in place of the original."""

import sys
from types import ModuleType

import pytest
from tensorrt_double import Double


@pytest.fixture
def double(monkeypatch, tmp_path):
    """Gives a function that puts a double of a TensorRT version in the original's place."""

    def install(version: str = "10.3.0") -> Double:
        made = Double(version)
        monkeypatch.setitem(sys.modules, "tensorrt", made.trt)
        monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
        monkeypatch.setitem(sys.modules, "pycuda.driver", made.cuda)
        for place in ("gpu", "build"):
            monkeypatch.setattr(f"jetseg.engine.tensorrt.{place}.probe_driver", lambda: made.happened("probe"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return made

    return install
