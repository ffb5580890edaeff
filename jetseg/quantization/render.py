"""Renders a calibrated network as the files that TensorRT reads."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from jetseg.artifact_file import save_onnx
from jetseg.config import changed
from jetseg.errors import CalibrationError
from jetseg.manifest import Stage
from jetseg.network import Network, open_network
from jetseg.onnx.graph import Graph
from jetseg.quantization.config import Policy
from jetseg.quantization.qdq.insertion import render_explicit_
from jetseg.quantization.qdq.placement import check_layers, place_symmetric
from jetseg.quantization.qdq.schemes import SCHEMES, TENSORRT, Scheme
from jetseg.quantization.ranges import Ranges, RangesRecord, TensorRange, save_ranges
from jetseg.quantization.tensorrt.cache import render_cache
from jetseg.quantization.tensorrt.rules import check_qdq
from jetseg.storage import write_text


def qdq_network(
    ranges: Ranges,
    placement: Policy | None = None,
    keep_float: frozenset[str] = frozenset(),
    scheme: Scheme = TENSORRT,
) -> onnx.ModelProto:
    """Renders a calibrated network with explicit quantizers for TensorRT; see `insert_quantizers_`."""
    graph = ranges.network_for("tensorrt").float_graph()
    return insert_quantizers_(graph, ranges.record, placement, keep_float, scheme)


def insert_quantizers_(
    graph: Graph,
    record: RangesRecord,
    placement: Policy | None = None,
    keep_float: frozenset[str] = frozenset(),
    scheme: Scheme = TENSORRT,
) -> onnx.ModelProto:
    """Inserts explicit quantizers into a float network.

    Args:
        graph: The float network that the ranges hold for; it is changed.
        record: Ranges of its activations.
        placement: Another placement than the one that the ranges were made for.
        keep_float: Layers, or other operators with quantizers, by output, that stay in float.
        scheme: What the quantizers compute; in one that TensorRT has, int8 or fp8, the result is what it builds from.

    Raises:
        CalibrationError: TensorRT would refuse the result, or run it badly, and it is meant for it.
        ConfigError: A layer in `keep_float` does not exist.
    """
    check_layers(graph.producer, keep_float)
    where = place_symmetric(graph, placement or record.placement, record.tensors, keep_float)
    model = render_explicit_(graph, where, record.tensors, scheme)
    problems = check_qdq(model) if scheme in (TENSORRT, SCHEMES["fp8"]) else ()
    if problems:
        raise CalibrationError(f"The Q/DQ network would not do for TensorRT. {' '.join(map(str, problems[:3]))}")
    return model


def write_qdq(ranges: Ranges, out: Path, *, placement: Policy | None = None, scheme: Scheme = TENSORRT) -> Network:
    """Writes the Q/DQ network of a calibrated network, with its manifest; returns it opened."""
    network = qdq_network(ranges, placement, scheme=scheme)
    told = {"form": "qdq", "placement": placement or ranges.placement, "scheme": scheme.name}
    rendered = ranges.network.manifest.derive(
        Stage(name="render", settings=told),
        parent_sha256=ranges.network.sha256,
        kind="onnx",
        precision=scheme.precision,
        calibration_sha256=ranges.sha256,
    )
    save_onnx(out, network, rendered)
    return open_network(out)


def write_cache(ranges: Ranges, out: Path, version: str) -> Network:
    """Writes a calibration cache for a TensorRT version that has calibrators.

    Returns:
        The float network to build with it: the corrected one where calibration made one.
    """
    write_text(out, render_cache({name: entry.amax for name, entry in ranges.tensors.items()}, version))
    return ranges.network_for("tensorrt")


def write_trained_ranges(trained: Path, twin: Network, ranges: Ranges) -> Ranges:
    """Writes the ranges file of a network that was trained under quantization.

    Trained ranges replace the calibrated ones; tensors that had no quantizer in training keep theirs.

    Args:
        trained: The trained Q/DQ network; `.scales.json` beside it holds the trained ranges.
        twin: Its float twin, which the ranges are for.
        ranges: Ranges of the float network that training started from.

    Returns:
        The ranges file, beside `trained`.
    """
    amax: dict[str, float] = json.loads(trained.with_suffix(".scales.json").read_text(encoding="utf-8"))
    tensors = {
        name: changed(entry, **_bounds(entry, amax[name])) if name in amax else entry
        for name, entry in ranges.tensors.items()
    }
    fresh = changed(ranges.record, model_sha256=twin.sha256, networks={}, trials=(), coverage=None, tensors=tensors)
    return save_ranges(trained.with_suffix(".ranges.json"), twin, fresh)


def _bounds(entry: TensorRange, amax: float) -> dict[str, float]:
    """Returns trained bounds; a side on which the tensor was never seen that far stays narrower."""
    return {"amax": amax, "low": max(entry.seen_low, -amax), "high": min(entry.seen_high, amax)}
