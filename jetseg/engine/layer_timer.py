"""Measures layers on the device that a network is for, and remembers what was measured."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from jetseg.engine.backend import find_backend
from jetseg.engine.layer_graph import ends_of, piece_manifest, piece_model
from jetseg.engine.timing import open_for_timing
from jetseg.errors import StorageError
from jetseg.manifest import Precision
from jetseg.onnx.layer_shape import Piece
from jetseg.progress import track
from jetseg.provenance import device_name, toolchain
from jetseg.storage import scratch_folder, write_json

_LOG = logging.getLogger(__name__)

_BATCH = 12
_ROUNDS = 3
_TURN_SECONDS = 0.015
_LEAST_RUNS = 3
_LEAST_MS = 1e-3


class LayerTimer:
    """Gives the latency of layers; what is not known yet is measured, in alternated runs.

    A layer is measured inside a small network, between two cheap convolutions that bring its input in and take
    its output away in the backend's own memory layout and precision; what these cost is measured and taken off.

    Args:
        backend: A name of `jetseg.registry.BACKENDS`.
        precision: Precision of the engine; the ranges of int8 are those of noise, which does not change its speed.
        threads: Threads of a CPU backend.
        cache: File that keeps the latencies; by default one in the user's cache folder for this device, backend,
            version and precision.
    """

    def __init__(self, backend: str, precision: Precision, threads: int, cache: Path | None = None) -> None:
        self._backend, self._precision, self._threads = backend, precision, threads
        self._cache = cache or latency_cache_path(backend, precision, threads)
        self._known: dict[str, float] = _read(self._cache)

    def __call__(self, pieces: Sequence[Piece]) -> list[float]:
        """Returns the latency of each piece in milliseconds.

        Raises:
            JetsegError: The backend cannot build or run a piece.
        """
        wanted = {_name(part): part for piece in pieces for part in (piece, *ends_of(piece))}
        missing = [part for name, part in wanted.items() if name not in self._known]
        # pieces of a size are measured side by side
        missing.sort(key=lambda part: (part[0].height * part[0].width, _name(part)))
        starts = range(0, len(missing), _BATCH)
        for start in track(starts, "Timing layers", total=len(starts)):
            self._measure(missing[start : start + _BATCH])
        return [self._latency_ms(piece) for piece in pieces]

    def _latency_ms(self, piece: Piece) -> float:
        ends = sum(self._known[_name(end)] for end in ends_of(piece)) / 2
        return max(_LEAST_MS, self._known[_name(piece)] - ends)

    def _measure(self, pieces: Sequence[Piece]) -> None:
        calls: dict[str, Callable[[], object]] = {}
        with scratch_folder("jetseg-layers-") as folder, ExitStack() as opened:
            for index, piece in enumerate(pieces):
                manifest = piece_manifest(piece)
                path = folder / f"{index}.onnx"
                runner = open_for_timing(
                    piece_model(piece), manifest, path, self._backend, self._precision, self._threads
                )
                opened.callback(runner.close)
                spec = manifest.input
                image = np.ones((1, spec.channels, spec.height, spec.width), np.float32)
                calls[_name(piece)] = lambda runner=runner, image=image: runner.infer(image)  # type: ignore[misc]
            self._known |= quiet_latencies_ms(calls, clock=find_backend(self._backend).clock(self._threads))
        try:
            write_json(self._cache, dict(sorted(self._known.items())))
        except StorageError as error:
            _LOG.warning("The latencies are not kept: %s", error)


def quiet_latencies_ms(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = _ROUNDS,
    seconds: float = _TURN_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Times calls in turn, A B A B ...; returns the fastest run of each in milliseconds.

    Whatever else the machine does only ever adds time, so on a busy machine the fastest run repeats best.

    Args:
        calls: What to time, by name.
        rounds: How often each one has its turn.
        seconds: Length of one turn; at least a few runs are made.
        clock: Gives the time in seconds; see `jetseg.engine.backend.Backend.clock`.
    """
    fastest = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # untimed: the caches hold the weights of the one whose turn was before
            start = moment = clock()
            runs = 0
            while moment - start < seconds or runs < _LEAST_RUNS:
                call()
                before, moment = moment, clock()
                fastest[name] = min(fastest[name], (moment - before) * 1e3)
                runs += 1
    return fastest


def latency_cache_path(backend: str, precision: Precision, threads: int) -> Path:
    """Returns the place of a device's latencies in the user's cache folder."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = toolchain().get(backend, "")
    label = f"{backend}-{version}-{precision}-{threads}-{device_name()}"
    return folder / "jetseg" / "latency" / (re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-") + ".json")


def _name(piece: Piece) -> str:
    return "; ".join(str(layer) for layer in piece)


def _read(path: Path) -> dict[str, float]:
    """Reads the cache; one that is damaged is measured anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
