"""Weights outside the ONNX file: what was made for some is refused for others, on every way."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from small_network import edit_manifest, forget_hash, small_manifest, small_network, write_dataset

import jetseg
from jetseg.errors import ArtifactError, CalibrationError
from jetseg.manifest_file import manifest_path
from jetseg.network import open_network, save_manifest
from jetseg.quantization.ranges import open_ranges
from jetseg.workflows.comparing import follow_parity
from jetseg.workflows.rendering import render
from jetseg.workflows.stage_results import StageResult, kept_result, save_result


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "data")


@pytest.fixture(params=["net.onnx", "NET.ONNX", "net.model"])
def network(tmp_path: Path, request) -> Path:
    """A network whose weights lie beside it, with a manifest as a user writes it: without a hash."""
    path = tmp_path / request.param
    save_with_weights_elsewhere(path, seed=0)
    save_manifest(path, small_manifest())
    forget_hash(path)
    return path


def save_with_weights_elsewhere(path: Path, seed: int) -> None:
    (path.parent / "weights.bin").unlink(missing_ok=True)
    options = {"all_tensors_to_one_file": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(small_network(seed), str(path), save_as_external_data=True, **options)


def retrain(path: Path) -> None:
    """Other weights in the same places: the ONNX file stays the same byte for byte."""
    before = path.read_bytes(), (path.parent / "weights.bin").read_bytes()
    save_with_weights_elsewhere(path, seed=1)
    assert path.read_bytes() == before[0]
    assert (path.parent / "weights.bin").read_bytes() != before[1]


def test_ranges_of_earlier_weights_are_refused_by_all_that_read_them(network, data, tmp_path):
    opened = jetseg.calibrate(network, data=data, split="all", preset="fast", out=tmp_path / "r.json")
    ranges = opened.path
    open_ranges(ranges, open_network(network))
    retrain(network)
    ways = {
        "build": lambda: jetseg.build_engine(network, ranges=ranges, data=data, out=tmp_path / "e.onnx"),
        "cache": lambda: render(network, ranges=ranges, out=tmp_path / "c.cache", form="cache"),
        "qdq": lambda: render(network, ranges=ranges, out=tmp_path / "q.onnx"),
        "eval": lambda: jetseg.evaluate(network, data=data, split="all", simulate="tensorrt", ranges=ranges),
        "opened before": lambda: jetseg.build_engine(network, ranges=opened, data=data, out=tmp_path / "e.onnx"),
        "open": lambda: open_ranges(ranges, open_network(network)),
    }
    for use in ways.values():
        with pytest.raises(CalibrationError, match=r"another network \(its SHA-256 differs\)"):
            use()


def test_qat_refuses_ranges_of_earlier_weights(network, data, tmp_path):
    pytest.importorskip("torch")
    ranges = jetseg.calibrate(network, data=data, split="all", preset="fast", out=tmp_path / "r.json").path
    retrain(network)
    from jetseg.workflows.qat import quantization_aware_train

    with pytest.raises(CalibrationError, match="another network"):
        quantization_aware_train(
            network, data=data, split="all", eval_split="all", ranges=ranges, out=tmp_path / "q.onnx", epochs=1
        )


def test_a_network_with_a_hash_is_not_opened_with_other_weights(network, data, tmp_path):
    digest = save_manifest(network, small_manifest()).sha256
    engine = jetseg.build_engine(network, precision="fp32", out=tmp_path / "e.onnx")
    assert engine.manifest.parent_sha256 == digest == open_network(network).sha256
    retrain(network)
    ways = [
        lambda: open_network(network),
        lambda: jetseg.open_engine(network),
        lambda: jetseg.calibrate(network, data=data, split="all", out=tmp_path / "r.json"),
        lambda: follow_parity([network, tmp_path / "e.onnx"], data=data, split="all"),
        lambda: jetseg.evaluate(network, data=data, split="all"),
    ]
    for use in ways:
        with pytest.raises(ArtifactError, match="SHA-256 differs"):
            use()
    edit_manifest(network, lambda content: content.update(sha256=None))
    assert open_network(network).sha256 not in (digest, None)


def test_weights_that_are_missing_are_named(network, data):
    (network.parent / "weights.bin").unlink()
    with pytest.raises(ArtifactError, match=r"keeps the weights .* in weights\.bin"):
        open_network(network)


def test_a_stage_of_a_recipe_is_not_kept_with_other_weights(tmp_path):
    path = tmp_path / "net.onnx"
    save_with_weights_elsewhere(path, seed=0)
    save_manifest(path, small_manifest())
    save_result(StageResult("export", "export", tmp_path, {"onnx": path}, 1.0))
    assert kept_result(tmp_path).artifacts == {"onnx": path}
    retrain(path)
    assert kept_result(tmp_path) is None
    (tmp_path / "weights.bin").unlink()
    assert kept_result(tmp_path) is None
    assert manifest_path(path).is_file()
