"""Measures how much memory a network takes, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from jetseg.errors import ArtifactError, MemoryBoundError, StageStoppedError, UnavailableError
from jetseg.evaluation.benchmark import noise_frame
from jetseg.main_thread import LimitConfig, current_limits, limit
from jetseg.manifest import Manifest
from jetseg.network import Network
from jetseg.process_watch import ProcessWatch
from jetseg.trust import named_factories, trust
from jetseg.workflows.opening import open_engine

RUNS = 10
_CHILD = "import sys; sys.path[:] = filter(None, sys.path); from jetseg.workflows.peak_memory import answer; answer()"
"""What the process runs: without the current folder on its path, from which `python -m` would import."""
_PROC_STATUS = Path("/proc/self/status")


def measure_peak_memory(network: Network, threads: int | None) -> int:
    """Returns the largest resident memory, in bytes, of a process that opens and runs a network.

    Python and the libraries are in it, since a vehicle has to hold them too. Processes are kept apart because
    one that already held another network would count that one as well.

    Raises:
        ArtifactError: The process failed; its last words are in the message.
        StageStoppedError: A run does not come back.
        UnavailableError: It takes more memory than the user allows.
    """
    content, limits = network.manifest.model_dump_json(), current_limits().model_dump()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps([str(network.path), content, network.sha256, threads, sorted(named_factories()), limits]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if done.returncode == StageStoppedError.exit_code:
            raise StageStoppedError("peak memory", f"a run of {network.path} has not come back in a process of its own")
        if done.returncode == MemoryBoundError.exit_code:
            raise UnavailableError(f"{network.path} failed in a process of its own: {last.removeprefix('Error: ')}")
        raise ArtifactError(
            f"{network.path} failed in a process of its own: {last}",
            "The machine may lack memory; close other programs.",
        )
    return int(done.stdout)


def _run(network: Network, threads: int | None) -> int:
    spec = network.manifest.input
    frame = noise_frame(spec)
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


def answer() -> None:
    """Does what the parent asks for on stdin, in the process of its own."""
    path, manifest, digest, threads, trusted, limits = json.load(sys.stdin)
    trust(trusted)
    network = Network(Path(path), Manifest.model_validate_json(manifest), digest)
    with ProcessWatch(lambda: "peak memory") as watch:
        limit(LimitConfig(**limits))
        try:
            sys.stdout.write(f"{_run(network, threads)}\n")
        except KeyboardInterrupt:
            if watch.failure is None:
                raise
            sys.stderr.write(f"{watch.failure}\n")
            sys.exit(watch.failure.exit_code)
