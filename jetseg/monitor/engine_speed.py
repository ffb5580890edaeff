"""The bare engine's speed on this machine: what the camera loop is measured against."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetseg.engine.backend import Runner, infer_all
from jetseg.preprocess import NetworkInput, Preprocessor, resize_frame

_WARM_UP_RUNS = 4
_LEAST_RUNS = 20
_MOST_SECONDS = 15.0


@dataclass(frozen=True)
class EngineSpeed:
    """How fast a runner answers alone, without capture, preprocessing and postprocessing.

    Attributes:
        frames_per_second: (N - 1) / (last - first) over back-to-back runs; None if it was stopped early.
        runs: Timed runs.
        outputs_stay: Outputs of successive runs lie in different memory, so that one may be read while the
            next one is computed.
    """

    frames_per_second: float | None
    runs: int
    outputs_stay: bool


def measure_engine_speed(
    runner: Runner, seconds: float = 1.5, stopped: Callable[[], bool] = lambda: False
) -> EngineSpeed:
    """Times a runner on one preprocessed picture, after a warm-up that does not count.

    Args:
        runner: The network.
        seconds: Length of the measurement; 20 runs are made if they take longer than that, but never
            more than 15 seconds are spent.
        stopped: Asked before each run; True ends the measurement.
    """
    network_input = picture_input(runner)
    outputs: list[npt.NDArray[np.generic]] = []
    for _ in range(_WARM_UP_RUNS):
        if not stopped():
            outputs += infer_all(runner, network_input)
    outputs_stay = not any(np.may_share_memory(one, other) for one, other in itertools.combinations(outputs, 2))
    del outputs
    moments = [time.perf_counter()]
    while not stopped():
        infer_all(runner, network_input)
        moments.append(time.perf_counter())
        elapsed = moments[-1] - moments[0]
        if elapsed >= _MOST_SECONDS or (elapsed >= seconds and len(moments) > _LEAST_RUNS):
            break
    runs = len(moments) - 1
    rate = runs / (moments[-1] - moments[0]) if runs else None
    return EngineSpeed(frames_per_second=rate, runs=runs, outputs_stay=outputs_stay)


def picture_input(runner: Runner) -> NetworkInput:
    """Makes a network's input from a seeded picture of soft blobs.

    Plain noise would be unfair: it defeats the processor's branch prediction in activations, which made a
    network 8% slower than it is on camera frames.
    """
    spec = runner.manifest.input
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Preprocessor(spec)(resize_frame(coarse, spec.height, spec.width))
