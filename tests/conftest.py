"""Fixtures that several test folders need."""

import os
import random
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Gives every test the same random numbers, whichever tests ran before it in its process."""
    random.seed(0)
    np.random.seed(0)  # libraries under test draw from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def trials() -> Callable[[int], Iterator[random.Random]]:
    """Gives a fuzzer its trials, each with random numbers of its own; memory must not grow while it runs.

    A default run makes as many as the fuzzer says; with JETSEG_FUZZ_SECONDS set it goes on for that long.
    """

    def draw(count: int, growth_bytes: int = 256 << 20) -> Iterator[random.Random]:
        seconds = float(os.environ.get("JETSEG_FUZZ_SECONDS", "0"))
        until, number, before = monotonic() + seconds, 0, _peak_bytes()
        while monotonic() < until if seconds else number < count:
            yield random.Random(number)
            number += 1
        assert _peak_bytes() - before < growth_bytes

    return draw


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.fixture
def shared_dir() -> Path:
    """Gives the folder with real data and networks beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder with shared data is not beside this checkout")
    return SHARED


@pytest.fixture
def espnet(shared_dir: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Gives a network that its authors trained on CamVid, and a manifest for it."""
    manifest = tmp_path / "espnet.yaml"
    manifest.write_text(
        "classes: [sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]\n"
        "ignore_index: 11\n"
        "input: {height: 360, width: 480, color: bgr, mean: [110.331, 108.409, 105.033], "
        "std: [18392.13, 18536.205, 17825.52]}\n"
    )
    return shared_dir / "models" / "espnet_camvid" / "espnet_p2q8_camvid_480x360.onnx", manifest
