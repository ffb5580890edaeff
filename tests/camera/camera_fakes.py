"""Sources, runners and datasets that live in memory."""

import time
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from jetseg.camera.contract import SourceFrame
from jetseg.data.contract import Sample
from jetseg.manifest import Manifest
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.statistics import SourceLosses

MANIFEST = Manifest.model_validate(
    {"classes": ["blue", "green", "red"], "input": {"height": 24, "width": 32, "color": "bgr"}}
)
ANY_SPEED = EngineSpeed(frames_per_second=100.0, runs=1, outputs_stay=True)


class FakeRunner:
    """Takes the strongest color as the class: its logits are its input.

    `reuses_output` writes every result into the same memory, as the contract allows.
    """

    def __init__(self, delay=0.0, *, reuses_output=False, fails_at=None, channels=3):
        self.manifest = MANIFEST
        self.calls = 0
        self._delay = delay
        self._fails_at = fails_at
        self._channels = channels
        self._buffer = np.zeros((1, 3, 24, 32), np.float32) if reuses_output else None

    def infer(self, network_input):
        self.calls += 1
        if self.calls == self._fails_at:
            raise RuntimeError("infer broke")
        if self._buffer is not None:
            self._buffer[:] = -1
        time.sleep(self._delay)
        if self._buffer is None:
            return network_input[:, : self._channels].copy()
        self._buffer[:] = network_input
        return self._buffer

    def close(self):
        pass


@dataclass
class FakeSource:
    """Frames whose content says their number: frame n shows class n % 3 everywhere."""

    length: int | None
    live: bool = False
    delay: float = 0.0
    fails_at: int | None = None
    bad_images_from: int | None = None
    classes: tuple[str, ...] | None = None
    label: int = 0
    name: str = "fake"
    split: str | None = None
    frames_per_second: float | None = None
    size_hw: tuple[int, int] | None = (48, 64)
    ignore_index: int | None = None
    given: int = 0
    closed: bool = field(default=False)
    losses: SourceLosses = field(default_factory=SourceLosses)

    def read(self):
        if self.length is not None and self.given >= self.length:
            return None
        time.sleep(self.delay)
        number = self.given
        self.given += 1
        if number == self.fails_at:
            raise RuntimeError("capture broke")
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., number % 3] = 200
        if self.bad_images_from is not None and number >= self.bad_images_from:
            image = image[..., 0].astype(np.float64)
        label = None if self.classes is None else np.full((48, 64), self.label, np.uint8)
        return SourceFrame(number, str(number), perf_counter(), image, label)

    def close(self):
        self.closed = True


class Collector:
    """A sink that keeps what it got."""

    wants_overlay = False

    def __init__(self, delay=0.0, fails_at=None):
        self.results = []
        self._delay = delay
        self._fails_at = fails_at

    def write(self, result):
        if len(self.results) == self._fails_at:
            raise RuntimeError("output broke")
        time.sleep(self._delay)
        self.results.append(result)


class BlobDataset:
    """Labelled frames with random colors and labels of another size than the network's."""

    spec = "blobs"
    split = "test"
    classes = MANIFEST.classes
    palette = MANIFEST.colors
    ignore_index = 7

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        label = rng.choice(np.array([0, 1, 2, 7], np.uint8), (50, 70))
        return Sample(f"blob{index}", image, label)
