"""The small network as calibration sees it."""

from pathlib import Path

import onnx
import pytest
from small_network import small_network

from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph


@pytest.fixture
def small(tmp_path: Path) -> Graph:
    path = tmp_path / "n.onnx"
    onnx.save(small_network(), str(path))
    return load_float_graph(path)
