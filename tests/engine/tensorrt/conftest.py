"""The double of TensorRT in place of the original."""

import sys
from types import ModuleType
from typing import Any

import pytest
from small_network import write_dataset, write_small_network
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


@pytest.fixture
def build_settings(tmp_path):
    """Gives a function that returns settings of a build that passes any gate, for a backend and an engine's name."""

    def make(backend: str, name: str) -> dict[str, Any]:
        return {
            "network": write_small_network(tmp_path),
            "data": write_dataset(tmp_path / "data"),
            "split": "all",
            "eval_split": "all",
            "images": 4,
            "preset": "fast",
            "backend": backend,
            "out": tmp_path / name,
            "max_drop": 100.0,
            "max_class_drop": 100.0,
        }

    return make
