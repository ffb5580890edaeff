"""A dataset of a few tiny frames that a network can learn in seconds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jetseg.data.contract import Sample
from jetseg.errors import DataError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.training.config import TrainConfig

CLASSES = ("road", "car", "sky")
COLORS = np.array([(60, 60, 60), (30, 30, 220), (220, 160, 60)])


class ToyRoads:
    """Sky above road with a car on it; a class is known by its color. The lowest row is not labelled."""

    palette = ((128, 64, 128), (0, 0, 142), (70, 130, 180))
    classes = CLASSES
    ignore_index = 255

    def __init__(self, spec: str, split: str) -> None:
        self.spec, self.split = spec, split
        if split not in {"train", "val"}:
            raise DataError(f"{spec} has no split {split}.")
        self._first = 0 if split == "train" else 100

    def __len__(self) -> int:
        return 12 if self.split == "train" else 4

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng(self._first + index)
        label = np.zeros((32, 48), np.uint8)
        label[: generator.integers(8, 20)] = 2
        top, left = generator.integers(0, 20, 2)
        label[top : top + 10, left : left + 14] = 1
        noise = generator.integers(-20, 20, (32, 48, 3))
        image = np.clip(COLORS[label] + noise, 0, 255).astype(np.uint8)
        label[-1] = 255
        return Sample(f"frame{index}", image, label)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def toy_roads() -> type[ToyRoads]:
    return ToyRoads


@pytest.fixture
def toy_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetseg.training.loaders.open_split", ToyRoads)


@pytest.fixture
def toy_config(toy_data: None, tmp_path: Path):
    """Makes settings of a run on the toy data; keyword arguments win."""

    def make(**settings) -> TrainConfig:
        chosen = {
            "data": "toy",
            "model": "tiny",
            "model_options": {"width": 8},
            "out": tmp_path / "run",
            "epochs": 4,
            "batch_size": 4,
            "lr": 1e-2,
            "accelerator": "cpu",
            "augment": {"scale": (0.9, 1.3)},
            **settings,
        }
        return TrainConfig(**{key: value for key, value in chosen.items() if value is not None})

    return make


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        kind="checkpoint",
        classes=CLASSES,
        ignore_index=255,
        input=InputSpec(height=32, width=48, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        model=ModelSpec(factory="tiny", options={"width": 8}),
    )
