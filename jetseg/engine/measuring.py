"""Measures networks on the device at hand, whole and step by step, for a table of latencies."""

from __future__ import annotations

from dataclasses import dataclass

from jetseg.artifact_file import save_onnx
from jetseg.engine.backend import Backend, StepTime, find_backend
from jetseg.engine.engine import open_engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.engine.sweep import draw_network
from jetseg.engine.timing import build_for_timing
from jetseg.errors import ConfigError
from jetseg.evaluation.benchmark import inference_on_noise
from jetseg.latency.unit import Unit
from jetseg.manifest import Precision
from jetseg.network import Network, open_network
from jetseg.storage import scratch_folder

_ROUNDS = 8
_TURN_SECONDS = 0.06
_MOST_TRIALS, _MOST_ABOVE = 6, 1.05


@dataclass(frozen=True)
class Measurement:
    """A network that was measured.

    Attributes:
        ms: Its fastest run.
        steps: Its operators in order of execution, with the fastest run of each in milliseconds.
    """

    ms: float
    steps: tuple[tuple[Unit, float], ...]


def measure_network(network: Network | int, backend: str, precision: Precision, threads: int) -> Measurement:
    """Builds an engine of a network with the ranges of noise, and measures it.

    Args:
        network: Float ONNX file; or the number of one that is drawn at random.
        backend: A name of `jetseg.registry.BACKENDS`.
        precision: Precision of the engine.
        threads: Threads of a CPU backend.

    Raises:
        ConfigError: The backend does not tell how long its steps take.
        JetsegError: The backend cannot build the network.
    """
    with scratch_folder("jetseg-measure-") as folder:
        if isinstance(network, int):
            model, manifest = draw_network(network)
            save_onnx(folder / "drawn.onnx", model, manifest.changed(kind="onnx"))
            network = open_network(folder / "drawn.onnx")
        return measure_engine(build_for_timing(network, folder, backend, precision), find_backend(backend), threads)


def measure_engine(engine: Network, backend: Backend, threads: int) -> Measurement:
    """Measures an engine; see `measure_network`."""
    with open_engine(engine, threads=threads) as opened:
        calls = {"engine": inference_on_noise(opened)}
        clock = backend.clock(threads)
        ms = quiet_latencies_ms(calls, rounds=_ROUNDS, seconds=_TURN_SECONDS, clock=clock)["engine"]
    steps = _quiet_steps(engine, backend, threads, ms)
    if not steps:
        raise ConfigError(
            "This backend does not tell how long its steps take, so there is no table of them.",
            "Choose `backend` onnxruntime or tensorrt.",
        )
    return Measurement(ms, tuple((step.unit, step.ms) for step in steps if step.unit is not None))


def _quiet_steps(engine: Network, backend: Backend, threads: int, ms: float) -> list[StepTime]:
    """Times the steps of an engine, again where they add up to more than the whole: others had the processor."""
    best: list[StepTime] = []
    for _ in range(_MOST_TRIALS):
        steps = next(iter(backend.step_times([engine], threads)), [])
        best = [min(pair, key=lambda step: step.ms) for pair in zip(steps, best or steps, strict=True)]
        if sum(step.ms for step in best) <= _MOST_ABOVE * ms:
            break
    return best
