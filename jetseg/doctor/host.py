"""The machine as the checks see it: files under a root, and commands. Tests give another root and other answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class CommandResult:
    """What a command did; `code` is None where it could not be started or took too long."""

    code: int | None
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """What a Python probe found: its values, or the reason why it has none."""

    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def run_command(arguments: Sequence[str]) -> CommandResult:
    """Runs a command without a shell and waits for it, half a minute at most."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return CommandResult(None, stderr=f"no answer within {_TIMEOUT_SECONDS} s")
    except (OSError, UnicodeDecodeError) as error:
        return CommandResult(None, stderr=str(error))
    return CommandResult(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Host:
    """A machine to examine.

    Attributes:
        root: Folder that stands for `/`.
        folder: Folder that engines would be written to.
        command: Runs a command; see `run_command`.
        free_bytes: Tells how much a folder's disk has left.
    """

    root: Path = Path("/")
    folder: Path = Path()
    command: Callable[[Sequence[str]], CommandResult] = run_command
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def text(self, path: str) -> str | None:
        """Returns a file's text without trailing zero bytes and space, or None where it cannot be read."""
        try:
            return self._place(path).read_text(encoding="utf-8", errors="replace").rstrip("\0 \n")
        except OSError:
            return None

    def has(self, path: str) -> bool:
        """Tells whether a path exists."""
        return self._place(path).exists()

    def paths(self, pattern: str) -> list[str]:
        """Returns the paths that match a glob pattern, sorted, as seen from the machine."""
        found = self.root.glob(pattern.lstrip("/"))
        return sorted("/" + path.relative_to(self.root).as_posix() for path in found)

    def output(self, *arguments: str) -> str | None:
        """Returns what a command prints, or None if it fails or does not exist."""
        outcome = self.command(arguments)
        return outcome.stdout.strip() if outcome.code == 0 else None

    def python(self, code: str) -> ProbeResult:
        """Runs code that prints one JSON object, in a process of its own: a broken library may crash on import."""
        outcome = self.command([sys.executable, "-c", code])
        if outcome.code == 0:
            lines = outcome.stdout.strip().splitlines()
            try:
                return ProbeResult(json.loads(lines[-1]))
            except (IndexError, ValueError):
                return ProbeResult(error="its probe printed nothing that can be read")
        if outcome.code is not None and outcome.code < 0:
            return ProbeResult(error=f"it crashed with signal {-outcome.code}")
        lines = outcome.stderr.strip().splitlines()
        return ProbeResult(error=lines[-1] if lines else f"exit code {outcome.code}")

    def _place(self, path: str) -> Path:
        return self.root / path.lstrip("/")
