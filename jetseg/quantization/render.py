"""Renders a calibrated network as the files that TensorRT reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import onnx

from jetseg.errors import CalibrationError
from jetseg.manifest import Manifest, Stage, load_manifest, save_manifest
from jetseg.onnx.file import save_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.quantization.qdq.insertion import render_explicit_
from jetseg.quantization.qdq.placement import check_layers, place_symmetric
from jetseg.quantization.qdq.schemes import TENSORRT, Scheme
from jetseg.quantization.ranges import Policy, Ranges, TensorRange, calibrated_network, load_ranges, save_ranges
from jetseg.quantization.tensorrt.cache import render_cache
from jetseg.quantization.tensorrt.rules import check_qdq
from jetseg.storage import sha256_file, write_text


def load_calibrated(model: Path, ranges_file: Path, manifest_file: Path | None = None) -> tuple[Manifest, Ranges, Path]:
    """Loads what calibration left for TensorRT.

    Returns:
        The model's manifest, its ranges, and the float network that they hold for.

    Raises:
        CalibrationError: The ranges file is stale, or its corrected network is missing.
    """
    manifest = load_manifest(model, manifest_file)
    ranges = load_ranges(ranges_file, model_sha256=sha256_file(model), preprocessing=manifest.input)
    return manifest, ranges, calibrated_network(ranges_file, ranges, "tensorrt", model)


def qdq_network(
    network: Path,
    ranges: Ranges,
    placement: Policy | None = None,
    keep_float: frozenset[str] = frozenset(),
    scheme: Scheme = TENSORRT,
) -> onnx.ModelProto:
    """Renders a network with explicit quantizers.

    Args:
        network: The float network that the ranges hold for.
        ranges: Ranges of its activations.
        placement: Another placement than the one that the ranges were made for.
        keep_float: Layers, or other operators with quantizers, by output, that stay in float.
        scheme: What the quantizers compute; with that of TensorRT, the result is what it builds an INT8 engine from.

    Raises:
        CalibrationError: TensorRT would refuse the result, or run it badly, and it is meant for it.
        ConfigError: A layer in `keep_float` does not exist.
    """
    graph = load_float_graph(network)
    check_layers(graph.producer, keep_float)
    where = place_symmetric(graph, placement or ranges.placement, ranges.tensors, keep_float)
    model = render_explicit_(graph, where, ranges.tensors, scheme)
    problems = check_qdq(model) if scheme == TENSORRT else ()
    if problems:
        raise CalibrationError(f"The Q/DQ network would not do for TensorRT. {' '.join(map(str, problems[:3]))}")
    return model


def write_qdq(
    model: Path,
    ranges_file: Path,
    out: Path,
    *,
    placement: Policy | None = None,
    scheme: Scheme = TENSORRT,
    manifest_file: Path | None = None,
) -> Manifest:
    """Writes the Q/DQ network with its manifest; returns the manifest."""
    manifest, ranges, network = load_calibrated(model, ranges_file, manifest_file)
    save_onnx(out, qdq_network(network, ranges, placement, scheme=scheme))
    stage = Stage(name="render", settings={"form": "qdq", "placement": placement or ranges.placement, **asdict(scheme)})
    changes = {
        "kind": "onnx",
        "precision": f"int{scheme.bits}",
        "parent_sha256": sha256_file(model),
        "calibration_sha256": sha256_file(ranges_file),
        "parity": None,
        "accuracy": (),
        "stages": (*manifest.stages, stage),
    }
    return save_manifest(out, manifest.model_copy(update=changes))


def write_cache(model: Path, ranges_file: Path, out: Path, version: str, manifest_file: Path | None = None) -> Path:
    """Writes a calibration cache for a TensorRT version that has calibrators.

    Returns:
        The float network to build with it: the corrected one where calibration made one.
    """
    _, ranges, network = load_calibrated(model, ranges_file, manifest_file)
    write_text(out, render_cache({name: entry.amax for name, entry in ranges.tensors.items()}, version))
    return network


def write_trained_ranges(
    trained: Path, twin: Path, model: Path, ranges_file: Path, manifest_file: Path | None = None
) -> Path:
    """Writes the ranges file of a network that was trained under quantization.

    Trained ranges replace the calibrated ones; tensors that had no quantizer in training keep theirs.

    Args:
        trained: The trained Q/DQ network; `.scales.json` beside it holds the trained ranges.
        twin: Its float twin, which the ranges are for.
        model: The float network that training started from.
        ranges_file: Its ranges file.
        manifest_file: Its manifest, if it is not beside it.

    Returns:
        The ranges file, beside `trained`.
    """
    _, ranges, _ = load_calibrated(model, ranges_file, manifest_file)
    amax: dict[str, float] = json.loads(trained.with_suffix(".scales.json").read_text(encoding="utf-8"))
    tensors = {
        name: entry.model_copy(update=_bounds(entry, amax[name])) if name in amax else entry
        for name, entry in ranges.tensors.items()
    }
    out = trained.with_suffix(".ranges.json")
    changes = {"model_sha256": sha256_file(twin), "networks": {}, "trials": (), "coverage": None, "tensors": tensors}
    save_ranges(out, ranges.model_copy(update=changes))
    return out


def _bounds(entry: TensorRange, amax: float) -> dict[str, float]:
    """Returns trained bounds; a side on which the tensor was never seen that far stays narrower."""
    return {"amax": amax, "low": max(entry.seen_low, -amax), "high": min(entry.seen_high, amax)}
