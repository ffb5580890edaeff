"""How long each step of a network takes in ONNX Runtime, by its own profiler."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt

from jetseg.engine.backend import StepTime
from jetseg.engine.onnxruntime.step_shapes import StepShapes
from jetseg.evaluation.benchmark import noise_frame
from jetseg.latency.unit import Unit
from jetseg.network import Network
from jetseg.onnx.file import load_onnx
from jetseg.onnx.session import choose_input_and_output, make_session, run_session
from jetseg.preprocess import Preprocessor
from jetseg.storage import scratch_folder

_SECONDS = 4.0
_LEAST_RUNS, _MOST_RUNS = 5, 40
_END = "_kernel_time"
_NAME = re.compile(r"@(?P<ours>.+)@|(?P<fused>.+)_nchwc$")
"""Nodes are named after what they make; so does ONNX Runtime name what it fuses into a convolution of its layout."""


def step_times(networks: Sequence[Network], threads: int) -> list[list[StepTime]]:
    """Runs networks on noise in turn, and returns the fastest run of each step, in order of execution.

    Whatever else the machine does only ever adds time, and seldom to the same step in every run.

    Args:
        networks: Float networks or engines.
        threads: Threads of ONNX Runtime.
    """
    with scratch_folder("jetseg-steps-") as folder:
        profiled = [_open(network, threads, folder / f"{index}-") for index, network in enumerate(networks)]
        start, runs = time.process_time(), 0
        while runs < _LEAST_RUNS or (runs < _MOST_RUNS and time.process_time() - start < _SECONDS):
            for session, outputs, feeds, _ in profiled:
                run_session(session, outputs, feeds)
            runs += 1
        return [_read(*opened) for opened in profiled]


def units(network: Network) -> list[Unit]:
    """Runs a network once and returns its steps without their times."""
    with scratch_folder("jetseg-steps-") as folder:
        session, outputs, feeds, optimized = _open(network, 1, folder / "once-")
        run_session(session, outputs, feeds)
        return [step.unit for step in _read(session, outputs, feeds, optimized) if step.unit is not None]


_Profiled = tuple[Any, list[str], dict[str, npt.NDArray[Any]], Path]
"""A session that notes its steps, its outputs, what goes in, and the file of the network as it is computed."""


def _open(network: Network, threads: int, profile: Path) -> _Profiled:
    model, manifest = load_onnx(network.path, network.sha256), network.manifest
    for node in model.graph.node:
        node.name = f"@{node.output[0]}@"
    content, integers = model.SerializeToString(), manifest.precision == "int8"
    optimized = profile.with_name(f"{profile.name}optimized.onnx")
    session = make_session(content, threads=threads, integers=integers, profile=profile, optimized=optimized)
    name, _ = choose_input_and_output(network.path, session, manifest)
    image = Preprocessor(manifest.input)(noise_frame(manifest.input)).copy()
    return session, [value.name for value in session.get_outputs()], {name: image}, optimized


def _read(session: Any, _: list[str], feeds: dict[str, npt.NDArray[Any]], optimized: Path) -> list[StepTime]:  # noqa: ANN401
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _fastest(events, StepShapes(optimized, feeds))


def _fastest(events: Iterable[dict[str, Any]], shapes: StepShapes) -> list[StepTime]:
    found: dict[str, StepTime] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_END):
            continue
        name, told, ms = event["name"].removesuffix(_END), event["args"], event["dur"] / 1e3
        if name in found:
            found[name] = replace(found[name], ms=min(ms, found[name].ms))
            continue
        match = _NAME.match(name)
        tensor = (match["ours"] or match["fused"]) if match else None
        outputs = [tuple(shape) for output in told.get("output_type_shape", ()) for shape in output.values()]
        types = [kind for value in told.get("input_type_shape", ()) for kind in value]
        unit = shapes.unit(name, types[0] if types else "none", outputs)
        found[name] = StepTime(tensor, told["op_name"], ms, sum(map(prod, outputs)), unit)
    return list(found.values())
