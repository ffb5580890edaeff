"""A second writer of the same output is refused before it has done any work."""

import threading
from contextlib import contextmanager

import pytest
from small_network import write_dataset, write_small_network

from jetseg.artifact_file import copy_artifact, move_artifact
from jetseg.errors import ConfigError
from jetseg.storage import writing
from jetseg.workflows.baseline import measure_baseline
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.kits import pack, verify


@contextmanager
def written_by_another(path):
    """Holds an output as another writer does, in a thread of its own."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(path):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def material(tmp_path):
    return write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)


def refused(path):
    return pytest.raises(ConfigError, match=rf"{path.name} at this moment")


def test_builds(material, tmp_path):
    model, data = material
    out = tmp_path / "engines" / "small.onnx"
    with written_by_another(out), refused(out):
        build_engine(model, data=data, split="all", eval_split="all", out=out)
    with written_by_another(out), refused(out):
        build_engine(model, precision="auto", data=data, split="all", eval_split="all", out=out)
    assert not list(out.parent.iterdir())


def test_calibrations(material, tmp_path):
    model, data = material
    out = tmp_path / "small.ranges.json"
    with written_by_another(out), refused(out):
        calibrate(model, data=data, split="all", out=out)


def test_packings_and_verifications(material, tmp_path):
    model, data = material
    kit, engine = tmp_path / "small.kit.zip", tmp_path / "engine.onnx"
    with written_by_another(kit), refused(kit):
        pack(model, data=data, split="all", out=kit)
    pack(model, data=data, split="all", frames=1, threads=1, out=kit)
    with written_by_another(engine), refused(engine):
        verify(kit, out=engine)


def test_manifests_and_copies(material, tmp_path):
    model, data = material
    target = tmp_path / "target.onnx"
    with written_by_another(target), refused(target):
        copy_artifact(model, target)
    with written_by_another(target), refused(target):
        move_artifact(model, target)
    with written_by_another(model), refused(model):
        measure_baseline(model, data=data, split="all", threads=1)


def test_trainings(material, tmp_path):
    pytest.importorskip("torch", reason="torch (extra `train`) is not installed")
    from jetseg.training.config import TrainConfig
    from jetseg.training.loop import train

    _, data = material
    config = TrainConfig(
        data=data, split="all", eval_split="all", model="tiny", out=tmp_path / "run", epochs=1, accelerator="cpu"
    )
    state = tmp_path / "run" / "state.safetensors"
    with written_by_another(state), refused(state):
        train(config)
    assert not list((tmp_path / "run").iterdir())
