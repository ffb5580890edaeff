"""Frames of more than 8 bits become the same pixels in training, calibration, evaluation and camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from small_network import CLASSES, HEIGHT, WIDTH, small_manifest, small_network

import jetseg
from jetseg.config import changed
from jetseg.data.dataset import open_split, window_of
from jetseg.errors import DataError, ManifestError
from jetseg.input_spec import FrameWindow
from jetseg.network import save_manifest
from jetseg.workflows.comparing import follow_parity

WINDOW = FrameWindow(low=1000, high=3000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six gray frames of 12 bits, as a thermal camera gives them, with labels and a window."""
    rng = np.random.default_rng(0)
    for index in range(6):
        values = cv2.resize(rng.integers(500, 4096, (6, 8)).astype(np.uint16), (WIDTH, HEIGHT))
        label = rng.integers(0, len(CLASSES), (HEIGHT, WIDTH)).astype(np.uint8)
        for part, image in (("images", values), ("labels", label)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / part / f"{index}.png"), image)
    settings = f"classes: [{', '.join(CLASSES)}]\nframes: {{low: 1000, high: 3000}}\n"
    (tmp_path / "data" / "classes.yaml").write_text(settings)
    return tmp_path / "data"


def network(folder: Path, window: FrameWindow | None) -> Path:
    path = folder / f"{'windowed' if window else 'plain'}.onnx"
    onnx.save(small_network(), str(path))
    manifest = small_manifest()
    save_manifest(path, manifest.changed(input=changed(manifest.input, frames=window)))
    return path


def by_hand(path: Path) -> np.ndarray:
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64)
    pixels = np.rint((np.clip(values, 1000, 3000) - 1000) * 255 / 2000).astype(np.uint8)
    return np.dstack([pixels] * 3)


class Collected:
    """A sink that keeps class maps and frames."""

    wants_overlay = False

    def __init__(self) -> None:
        self.found: list[tuple[np.ndarray, np.ndarray]] = []

    def write(self, result) -> None:
        self.found.append((result.frame.image_hwc_u8, result.class_map_hw_u8.copy()))


@pytest.mark.long
def test_dataset_engine_and_camera_see_the_same_pixels(data, tmp_path):
    files = sorted((data / "images").iterdir())
    split = open_split(f"folder:{data}", "all")
    path = network(tmp_path, WINDOW)
    for source in (str(data / "images"), f"folder:{data}"):
        sink = Collected()
        jetseg.run_camera(path, source=source, split="all", sinks=[sink], threads=1)
        with jetseg.open_engine(path, threads=1) as engine:
            for index, (file, (pixels, ids)) in enumerate(zip(files, sink.found, strict=True)):
                assert np.array_equal(pixels, by_hand(file))
                assert np.array_equal(split[index].image_hwc_u8, pixels)
                raw = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
                assert np.array_equal(engine.segment(raw), ids)
                assert np.array_equal(engine.segment(pixels), ids)


def test_window_is_kept_from_calibration_to_the_engine(data, tmp_path):
    spec = f"folder:{data}"
    path = network(tmp_path, WINDOW)
    ranges = jetseg.calibrate(path, data=spec, split="all", preset="fast", out=tmp_path / "r.json")
    assert ranges.record.preprocessing.frames == WINDOW
    built = jetseg.build_engine(path, ranges=ranges, out=tmp_path / "e.onnx")
    assert built.manifest.input.frames == WINDOW
    assert jetseg.evaluate(built.path, data=spec, split="all").accuracy.frames == 6


def test_another_window_or_none_is_refused(data, tmp_path):
    spec = f"folder:{data}"
    plain = network(tmp_path, None)
    ways = [
        lambda: jetseg.calibrate(plain, data=spec, split="all", preset="fast", out=tmp_path / "r.json"),
        lambda: jetseg.evaluate(plain, data=spec, split="all"),
        lambda: jetseg.run_camera(plain, source=spec, split="all", threads=1),
    ]
    for use in ways:
        with pytest.raises(DataError, match=r"turns the values 1000 to 3000 .* network's manifest has no window"):
            use()
    with pytest.raises(DataError, match=r"0\.png holds uint16 values, here \d+ to \d+.*`frames: {low"):
        jetseg.run_camera(plain, source=str(data / "images"), threads=1)
    with pytest.raises(ManifestError, match=r"Frames: without a window instead of windowed to 1000\.\.3000"):
        follow_parity([network(tmp_path, WINDOW), plain], data=spec, split="all")


def test_dataset_that_says_nothing_takes_the_window_of_the_network(data, tmp_path):
    (data / "classes.yaml").write_text(f"classes: [{', '.join(CLASSES)}]\n")
    found = jetseg.evaluate(network(tmp_path, WINDOW), data=f"folder:{data}", split="all")
    assert found.accuracy.frames == 6
    with pytest.raises(DataError, match=r"holds uint16 values"):
        jetseg.evaluate(network(tmp_path, None), data=f"folder:{data}", split="all")


def test_window_must_not_be_empty(data):
    (data / "classes.yaml").write_text("classes: [a]\nframes: {low: 10, high: 10}\n")
    with pytest.raises(jetseg.errors.ConfigError, match=r"low \(10\) must be below high \(10\)"):
        open_split(f"folder:{data}", "all")


def test_training_writes_the_window_of_its_data_into_the_manifest(data):
    pytest.importorskip("torch")
    from jetseg.training.config import TrainConfig
    from jetseg.training.initialization import start_network

    split = open_split(f"folder:{data}", "all")
    config = TrainConfig(model="tiny", data=split.spec, out=data / "run", height=HEIGHT, width=WIDTH)
    assert start_network(config, split)[1].input.frames == window_of(split) == WINDOW
