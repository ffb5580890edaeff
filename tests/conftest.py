"""Fixtures that several test folders need."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def shared_dir() -> Path:
    """Gives the folder with real data and networks beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder with shared data is not beside this checkout")
    return SHARED
