"""Runs the command line in this process."""

import sys
from collections.abc import Callable

import pytest

from jetseg.cli.main import main

Cli = Callable[..., tuple[object, str, str]]


@pytest.fixture
def jetseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line and returns its exit code and what it printed on stdout and stderr."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["jetseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code, *capsys.readouterr())

    return run
