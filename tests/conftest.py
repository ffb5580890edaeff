"""Fixtures that several test folders need."""

import os
import random
import sys
from pathlib import Path

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
