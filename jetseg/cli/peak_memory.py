"""Measures how much memory a network takes, in a process of its own: `python -m jetseg.cli.peak_memory`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from jetseg.cli.artifacts import open_any
from jetseg.engine.backend import Segmenter
from jetseg.errors import ArtifactError

RUNS = 10
_PROC_STATUS = Path("/proc/self/status")


def measure_peak_memory(path: Path, manifest_file: Path | None, threads: int | None) -> int:
    """Returns the largest resident memory, in bytes, of a process that opens and runs a network.

    Python and the libraries are in it, since a vehicle has to hold them too. Processes are kept apart because
    one that already held another network would count that one as well.

    Raises:
        ArtifactError: The process failed; its last words are in the message.
    """
    request = json.dumps([str(path), str(manifest_file) if manifest_file else None, threads])
    done = subprocess.run(
        [sys.executable, "-m", "jetseg.cli.peak_memory", request], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ArtifactError(
            f"{path} failed in a process of its own: {last}",
            "The machine may lack memory; close other programs.",
        )
    return int(done.stdout)


def _run(path: Path, manifest_file: Path | None, threads: int | None) -> int:
    runner = open_any(path, manifest_file, threads)
    segment = Segmenter(runner)
    spec = runner.manifest.input
    frame = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
    for _ in range(RUNS):
        segment(frame)
    return _peak_bytes()


def _peak_bytes() -> int:
    """Reads this process's high-water mark.

    `resource.getrusage` is the fallback only: on Linux it also covers what the parent held before it started
    this process, so a large parent would hide a small child.
    """
    if _PROC_STATUS.is_file():
        for line in _PROC_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    artifact, manifest, allowed = json.loads(sys.argv[1])
    sys.stdout.write(f"{_run(Path(artifact), Path(manifest) if manifest else None, allowed)}\n")
