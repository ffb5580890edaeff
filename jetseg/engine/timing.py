"""Builds and opens an engine only to see how fast it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from jetseg.engine.backend import BuildRequest, find_backend
from jetseg.engine.engine import Engine, open_engine
from jetseg.errors import ConfigError
from jetseg.manifest import Manifest, Precision
from jetseg.network import Network, open_network, save_manifest
from jetseg.onnx.file import save_onnx
from jetseg.quantization.observe.observer import observe
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import RangesRecord, TensorRange


def open_for_timing(
    model: onnx.ModelProto, manifest: Manifest, path: Path, backend: str, precision: Precision, threads: int
) -> Engine:
    """Opens a network in a precision, with the ranges of noise if that is int8: right in speed, wrong in its answers.

    Args:
        model: Float network.
        manifest: Its manifest.
        path: ONNX file to write; the engine gets a name beside it.
        backend: A name of `jetseg.registry.BACKENDS`.
        precision: Precision of the engine.
        threads: Threads of a CPU backend.

    Raises:
        ConfigError: The backend lacks the precision, or its engines do not run on this machine.
        JetsegError: The backend cannot build the network.
    """
    builder = find_backend(backend)
    options = builder.options()
    builder.check(precision, options)
    save_onnx(path, model)
    save_manifest(path, manifest.changed(kind="onnx", parity=None))
    network = open_network(path)
    place = path.with_name(f"{path.stem}.{precision}{builder.suffix}")
    ranges = _noise_ranges(network) if precision == "int8" else None
    report = builder.build(BuildRequest(network, precision, ranges, place, options=options))
    if report.not_run_here is not None:
        raise ConfigError(
            f"The speed of {backend} engines cannot be measured here: {report.not_run_here}.",
            "Run this on the device, or choose `backend` onnxruntime.",
        )
    described = network.manifest.changed(kind="engine", precision=precision, backend=backend)
    save_manifest(place, described, device=report.device, versions=report.toolchain)
    return open_engine(place, threads=threads)


def _noise_ranges(network: Network) -> RangesRecord:
    """Returns the ranges that a frame of noise has: their signs decide which operators a backend can fuse."""
    graph, spec = network.float_graph(), network.manifest.input
    frame = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    seen = observe(graph, observed_tensors(graph), network.manifest, network.image_input, [frame], threads=1)
    tensors = {}
    for name, histogram in seen.histograms.items():
        low, high = histogram.low, max(histogram.high, 1e-3)  # no scale may be zero
        tensors[name] = TensorRange(low=low, high=high, amax=max(-low, high), seen_low=low, seen_high=high)
    return RangesRecord(
        method="minmax",
        frames=1,
        model_sha256=network.sha256,
        data_sha256="",
        data="noise",
        preprocessing=spec,
        tensors=tensors,
    )
