"""Fixtures that several test folders need."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def shared_dir() -> Path:
    """Gives the folder with real data and networks beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder with shared data is not beside this checkout")
    return SHARED
