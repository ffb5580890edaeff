from pathlib import Path

import pytest

from jetseg import shipped
from jetseg.cli.artifacts import by_name
from jetseg.errors import ConfigError


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    folder = tmp_path / "engines"
    folder.mkdir()
    for name in ("road.onnx", "road.int8.onnx"):
        (folder / name).write_bytes(b"")
    monkeypatch.setattr(shipped, "_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_name_means_the_engine_and_a_file_name_the_file(shelf):
    assert shipped.shipped_names() == ("road",)
    assert shipped.find_artifact(Path("road")) == shelf / "road.int8.onnx"
    assert shipped.find_artifact(Path("road.onnx")) == shelf / "road.onnx"
    assert by_name([Path("road"), Path("mine.onnx")]) == [shelf / "road.int8.onnx", Path("mine.onnx")]


def test_ones_own_file_wins(shelf):
    Path("road.onnx").write_bytes(b"mine")
    assert shipped.find_artifact(Path("road.onnx")) == Path("road.onnx")
    assert shipped.find_artifact(Path("engines/none.onnx")) == Path("engines/none.onnx")


def test_an_unknown_name_lists_those_that_exist(shelf):
    with pytest.raises(ConfigError, match=r"raod is no file.*Names: road"):
        by_name(Path("raod"))
