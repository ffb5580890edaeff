import re
from pathlib import Path

import numpy as np
import pytest

from jetseg import shipped
from jetseg.errors import ArtifactError
from jetseg.network import load_manifest, open_network
from jetseg.onnx.cost import onnx_cost
from jetseg.storage import sha256_file
from jetseg.workflows.opening import open_engine

FRAME = np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8)


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


def test_ones_own_file_wins(shelf):
    Path("road.onnx").write_bytes(b"mine")
    assert shipped.find_artifact(Path("road.onnx")) == Path("road.onnx")
    assert shipped.find_artifact(Path("engines/none.onnx")) == Path("engines/none.onnx")


def test_an_unknown_name_lists_those_that_exist(shelf):
    with pytest.raises(ArtifactError, match=r"raod does not exist. Networks that come with jetseg: road"):
        open_network("raod")


def test_shipped_networks_are_whole_and_say_nothing_of_the_machine_they_were_trained_on():
    assert shipped.shipped_names() == ("camvid-light", "camvid-strong")
    for name in shipped.shipped_names():
        for file in (name, f"{name}.onnx"):
            with open_engine(file) as engine:
                assert engine.segment(FRAME).shape == (360, 480)
            assert engine.manifest.num_classes == 11
            assert not re.search(r'"[a-z]*:?/', engine.manifest.model_dump_json()), "a path of a machine"
        assert engine.manifest.model is not None
        card = (Path(shipped.__file__).parents[1] / "engines" / f"{name}.md").read_text(encoding="utf-8")
        assert "CC BY-NC 4.0" in card


@pytest.mark.parametrize(("name", "parameters"), [("camvid-light", 1_500_000), ("camvid-strong", 5_000_000)])
def test_the_float_network_is_the_parent_of_the_engine(name, parameters):
    engine, network = (shipped.find_artifact(Path(file)) for file in (name, f"{name}.onnx"))
    assert load_manifest(engine).parent_sha256 == sha256_file(network)
    assert onnx_cost(network).parameters <= parameters
