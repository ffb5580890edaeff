"""Builds and opens an engine only to see how fast it is."""

from __future__ import annotations

from pathlib import Path

import onnx

from jetseg.artifact_file import save_onnx
from jetseg.engine.backend import BuildRequest, find_backend
from jetseg.engine.engine import Engine, open_engine
from jetseg.errors import ConfigError
from jetseg.evaluation.benchmark import noise_frame
from jetseg.manifest import QUANTIZED, Manifest, Precision
from jetseg.network import Network, open_network, save_manifest
from jetseg.quantization.observe.observer import observe
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import RangesRecord, TensorRange


def open_for_timing(
    model: onnx.ModelProto, manifest: Manifest, path: Path, backend: str, precision: Precision, threads: int
) -> Engine:
    """Builds a network as `build_for_timing` does, and opens it.

    Args:
        model: Float network.
        manifest: Its manifest.
        path: ONNX file to write; the engine gets a name beside it.
        backend: A name of `jetseg.registry.BACKENDS`.
        precision: Precision of the engine.
        threads: Threads of a CPU backend.
    """
    save_onnx(path, model, manifest.changed(kind="onnx", parity=None))
    return open_engine(build_for_timing(open_network(path), path.parent, backend, precision), threads=threads)


def build_for_timing(network: Network, folder: Path, backend: str, precision: Precision) -> Network:
    """Builds an engine of a network, quantizers with the ranges of noise: right in speed, wrong in its answers.

    Args:
        network: Float ONNX file.
        folder: Where the engine is written.
        backend: A name of `jetseg.registry.BACKENDS`.
        precision: Precision of the engine.

    Raises:
        ConfigError: The backend lacks the precision, or its engines do not run on this machine.
        JetsegError: The backend cannot build the network.
    """
    builder = find_backend(backend)
    options = builder.options()
    builder.check(precision, options)
    place = folder / f"{network.name}.{precision}{builder.suffix}"
    ranges, scheme = noise_ranges(network) if precision in QUANTIZED else None, builder.find_scheme(precision, None)
    report = builder.build(BuildRequest(network, precision, ranges, place, options=options, scheme=scheme))
    if report.not_run_here is not None:
        raise ConfigError(
            f"The speed of {backend} engines cannot be measured here: {report.not_run_here}.",
            "Run this on the device, or choose `backend` onnxruntime.",
        )
    described = network.manifest.changed(kind="engine", precision=precision, backend=backend)
    save_manifest(place, described, device=report.device, versions=report.toolchain)
    return open_network(place)


def noise_ranges(network: Network) -> RangesRecord:
    """Returns the ranges that a frame of noise has: their signs decide which operators a backend can fuse."""
    graph, spec = network.float_graph(), network.manifest.input
    frame = noise_frame(spec)
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
