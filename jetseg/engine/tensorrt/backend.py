"""TensorRT as a backend: what is built and run where is in the other files of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from jetseg.engine.backend import Backend, BuildReport, BuildRequest, Candidate, StepTime
from jetseg.engine.tensorrt.build import build, check
from jetseg.engine.tensorrt.options import TensorRTOptions
from jetseg.engine.tensorrt.runner import TensorRtRunner
from jetseg.evaluation.benchmark import noise_frame
from jetseg.manifest import Precision
from jetseg.network import Network
from jetseg.preprocess import Preprocessor

_RUNS = 50


class TensorRT(Backend):
    """TensorRT on the GPU of this machine; see `jetseg.engine.backend.Backend`."""

    suffix = ".engine"
    arithmetic = "tensorrt"
    schemes = ("int8", "fp8")
    options = TensorRTOptions
    candidates = (
        Candidate("fp32", "fp32"),
        Candidate("fp16", "fp16"),
        Candidate("int8", "int8"),
        Candidate("int8-fp16", "int8", {"rest": "fp16"}),
    )

    def check(self, precision: Precision, options: Any) -> None:  # noqa: ANN401 - an instance of `TensorRTOptions`
        """Refuses what cannot be built; see `jetseg.engine.tensorrt.build.check`."""
        check(precision, options)

    def build(self, request: BuildRequest) -> BuildReport:
        """Builds an engine; see `jetseg.engine.tensorrt.build.build`."""
        return build(request)

    def open(self, network: Network, threads: int | None = None) -> TensorRtRunner:
        """Opens an engine; see `jetseg.engine.tensorrt.runner`."""
        del threads
        return TensorRtRunner(network)

    def step_times(self, engines: Sequence[Network], threads: int) -> list[list[StepTime]]:
        """Times the layers of engines on noise; a GPU of one's own needs no alternation."""
        del threads
        found = []
        for plan in engines:
            spec = plan.manifest.input
            with closing(TensorRtRunner(plan)) as runner:
                found.append(runner.step_times(Preprocessor(spec)(noise_frame(spec)), _RUNS))
        return found
