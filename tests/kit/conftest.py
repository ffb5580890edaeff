"""Kits that several tests read, and keys."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_kit import make_keys, make_kit

from jetseg.cli.main import main


@pytest.fixture(scope="session")
def small_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit with ranges, not signed; not to be changed."""
    return make_kit(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def float_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit without ranges and with one frame; not to be changed."""
    return make_kit(tmp_path_factory.mktemp("float"), ranges=False, frames=1)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key without a password, and its public key."""
    return make_keys(tmp_path)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Runs a command line and returns its exit code and what it printed on stdout and stderr."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["jetseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return run
