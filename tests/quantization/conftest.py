"""The small network as calibration sees it."""

from pathlib import Path

import onnx
import pytest
from small_network import small_network

from jetseg.onnx.graph import FloatGraph, load_float_graph


@pytest.fixture
def small(tmp_path: Path) -> FloatGraph:
    path = tmp_path / "n.onnx"
    onnx.save(small_network(), str(path))
    return load_float_graph(path)
