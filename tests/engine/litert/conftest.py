from pathlib import Path

import pytest
from small_network import write_dataset, write_small_network

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
SMALL = Path(__file__).with_name("small.tflite")


@pytest.fixture
def model(tmp_path):
    return write_small_network(tmp_path)


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data")


@pytest.fixture
def converted(monkeypatch):
    """The small network as litert-torch converts it, which takes a minute; what comes of it is proven all the same."""
    content = SMALL.read_bytes()
    monkeypatch.setattr("jetseg.engine.litert.backend.convert", lambda network: content)
    monkeypatch.setattr("jetseg.engine.litert.backend.check_converter", lambda: None)
    return content
