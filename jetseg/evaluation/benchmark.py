"""Compares speeds by alternated runs, so that a machine that grows warm or busy treats all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import numpy as np

from jetseg.errors import ConfigError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.preprocess import FrameU8, NetworkInput, Preprocessor
from jetseg.progress import task

LEAST_RUNS_PER_TURN = 5
_WARM_UP_RUNS = 3


@dataclass(frozen=True)
class Latency:
    """How fast one network answers, alone, without preprocessing and postprocessing.

    Attributes:
        runs: Timed runs.
        p50_ms: Half of the runs took at most this long; likewise `p95_ms` and `p99_ms`.
        frames_per_second: Back-to-back runs per second.
        speed_ratio: How many times as fast as the first network: the median over the rounds, each round
            compared within itself. `speed_ratio_min` and `speed_ratio_max` are the extremes over the rounds.
    """

    runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    frames_per_second: float
    speed_ratio: float
    speed_ratio_min: float
    speed_ratio_max: float


class Inferring(Protocol):
    """What can be timed: an opened engine, or a backend's runner."""

    @property
    def manifest(self) -> Manifest:
        """What goes in, what comes out."""
        ...

    def infer(self, network_input: NetworkInput, /) -> object:
        """Runs the network."""
        ...


def benchmark(
    runners: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Times callables in turn, A B A B ..., after a warm-up that does not count.

    Args:
        runners: What to call, by name; the first one is what the others are compared with.
        rounds: How often each one has its turn.
        seconds: Length of one turn; at least a few runs are made, however slow they are.
        clock: Gives the time in seconds.

    Returns:
        Latency by name, in the order of `runners`.

    Raises:
        ConfigError: `rounds` or `seconds` is not positive, or there is nothing to time.
    """
    if rounds < 1 or seconds <= 0 or not runners:
        raise ConfigError(
            f"A benchmark of {len(runners)} networks, {rounds} rounds, {seconds} seconds measures nothing.",
            "Give at least one network, one of `rounds` and a positive number of `seconds`.",
        )
    for run in runners.values():
        for _ in range(_WARM_UP_RUNS):
            run()
    turns: dict[str, list[list[float]]] = {name: [] for name in runners}
    with task("Timing, alternated", rounds * len(runners)) as running:
        for _ in range(rounds):
            for name, run in runners.items():
                turns[name].append(_turn(run, seconds, clock))
                running.update(advance=1)
    first = next(iter(turns.values()))
    return {name: _summary(own, first) for name, own in turns.items()}


def inference_on_noise(engine: Inferring) -> Callable[[], object]:
    """Returns a call that runs the network alone, on noise preprocessed beforehand, for timing it."""
    spec = engine.manifest.input
    network_input = Preprocessor(spec)(noise_frame(spec))
    return lambda: engine.infer(network_input)


def noise_frame(spec: InputSpec) -> FrameU8:
    """Returns a frame of noise of a network's size, the same each time."""
    return np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)


def _turn(run: Callable[[], object], seconds: float, clock: Callable[[], float]) -> list[float]:
    """Returns the moments, in seconds, between which the runs of one turn lie."""
    run()  # untimed: the caches hold the weights of the one whose turn was before
    moments = [clock()]
    while moments[-1] - moments[0] < seconds or len(moments) <= LEAST_RUNS_PER_TURN:
        run()
        moments.append(clock())
    return moments


def _summary(own: list[list[float]], first: list[list[float]]) -> Latency:
    durations_ms = np.concatenate([np.diff(moments) for moments in own]) * 1e3
    p50, p95, p99 = (float(value) for value in np.percentile(durations_ms, [50, 95, 99]))
    ratios = [
        float(np.median(np.diff(reference)) / np.median(np.diff(moments)))
        for reference, moments in zip(first, own, strict=True)
    ]
    return Latency(
        runs=len(durations_ms),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        frames_per_second=len(durations_ms) / sum(moments[-1] - moments[0] for moments in own),
        speed_ratio=median(ratios),
        speed_ratio_min=min(ratios),
        speed_ratio_max=max(ratios),
    )
