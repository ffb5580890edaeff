"""Measures how much memory a network takes, in a process of its own: `python -m jetseg.workflows.peak_memory`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest
from jetseg.network import Network
from jetseg.workflows.opening import open_engine

RUNS = 10
_PROC_STATUS = Path("/proc/self/status")


def measure_peak_memory(network: Network, threads: int | None) -> int:
    """Returns the largest resident memory, in bytes, of a process that opens and runs a network.

    Python and the libraries are in it, since a vehicle has to hold them too. Processes are kept apart because
    one that already held another network would count that one as well.

    Raises:
        ArtifactError: The process failed; its last words are in the message.
    """
    request = json.dumps([str(network.path), network.manifest.model_dump_json(), network.sha256, threads])
    done = subprocess.run(
        [sys.executable, "-m", "jetseg.workflows.peak_memory"],
        input=request,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ArtifactError(
            f"{network.path} failed in a process of its own: {last}",
            "The machine may lack memory; close other programs.",
        )
    return int(done.stdout)


def _run(network: Network, threads: int | None) -> int:
    spec = network.manifest.input
    frame = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
    with open_engine(network, threads=threads) as engine:
        for _ in range(RUNS):
            engine.segment(frame)
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
    path, manifest, digest, allowed = json.load(sys.stdin)
    sys.stdout.write(f"{_run(Network(Path(path), Manifest.model_validate_json(manifest), digest), allowed)}\n")
