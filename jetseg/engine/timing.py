"""Builds and opens an engine only to see how fast it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from jetseg.engine.contract import BuildRequest, Runner
from jetseg.engine.opening import backend_module, open_runner
from jetseg.errors import ConfigError
from jetseg.manifest import Manifest, Precision, save_manifest
from jetseg.onnx.file import save_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.quantization.calibration import image_input
from jetseg.quantization.observe.observer import observe
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import Ranges, TensorRange
from jetseg.storage import sha256_file


def open_trial(
    model: onnx.ModelProto, manifest: Manifest, path: Path, backend: str, precision: Precision, threads: int
) -> Runner:
    """Opens a network in a precision, with the ranges of noise if that is int8: right in speed, wrong in its answers.

    Args:
        model: Float network.
        manifest: Its manifest.
        path: ONNX file to write; the engine gets a name beside it.
        backend: See `jetseg.engine.opening.backend_names`.
        precision: Precision of the engine.
        threads: Threads of a CPU backend.

    Raises:
        ConfigError: The backend lacks the precision, or its engines do not run on this machine.
        JetsegError: The backend cannot build the network.
    """
    build = backend_module(backend, "build")
    options = build.Options()
    build.check(precision, options)
    save_onnx(path, model)
    parent = manifest.model_copy(update={"kind": "onnx", "sha256": None, "parity": None})
    engine = path.with_name(f"{path.stem}.{precision}{build.ENGINE_SUFFIX}")
    ranges = _noise_ranges(path, parent) if precision == "int8" else None
    report = build.build(BuildRequest(path, parent, precision, ranges, engine, options=options))
    if report.not_run_here is not None:
        raise ConfigError(
            f"The speed of {backend} engines cannot be measured here: {report.not_run_here}.",
            "Run this on the device, or choose --backend onnxruntime.",
        )
    changes = {"kind": "engine", "precision": precision, "backend": backend}
    save_manifest(engine, parent.model_copy(update=changes), device=report.device, versions=report.toolchain)
    return open_runner(engine, threads=threads)


def _noise_ranges(path: Path, manifest: Manifest) -> Ranges:
    """Returns the ranges that a frame of noise has: their signs decide which operators a backend can fuse."""
    graph = load_float_graph(path)
    spec = manifest.input
    frame = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    seen = observe(graph, observed_tensors(graph), manifest, image_input(graph, manifest, path), [frame], threads=1)
    tensors = {}
    for name, histogram in seen.histograms.items():
        low, high = histogram.low, max(histogram.high, 1e-3)  # no scale may be zero
        tensors[name] = TensorRange(low=low, high=high, amax=max(-low, high), seen_low=low, seen_high=high)
    return Ranges(
        method="minmax",
        frames=1,
        model_sha256=sha256_file(path),
        data_sha256="",
        data="noise",
        preprocessing=spec,
        tensors=tensors,
    )
