"""Ranges from a calibration cache that TensorRT or another tool wrote."""

from __future__ import annotations

from pathlib import Path

from jetseg.errors import CalibrationError
from jetseg.network import Network
from jetseg.onnx.graph import Graph
from jetseg.quantization.config import Method
from jetseg.quantization.qdq.placement import place_symmetric
from jetseg.quantization.ranges import Ranges, RangesRecord, TensorRange, save_ranges
from jetseg.quantization.tensorrt.cache import missing_names, parse_cache
from jetseg.storage import sha256_file

_METHODS: dict[str, Method] = {"EntropyCalibration2": "entropy", "EntropyCalibration": "entropy"}
_MIN_MAX: Method = "minmax"
_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax"})
_NAMED = 5


def ranges_from_cache(network: Network, cache_file: Path, out: Path) -> Ranges:
    """Turns a calibration cache into a ranges file of a network.

    A cache holds one symmetric bound per tensor. What was seen is not in it, so the bounds stand in for that.

    Args:
        network: Float network that the cache was made for.
        cache_file: The cache.
        out: Ranges file to write.

    Raises:
        CalibrationError: The cache is missing, malformed, or lacks tensors that quantizers need; they are named.
        ArtifactError: The network is broken.
    """
    if not cache_file.is_file():
        raise CalibrationError(f"{cache_file} does not exist.", "Check the path.")
    cache = parse_cache(cache_file.read_text(encoding="utf-8", errors="replace"))
    graph = network.float_graph()
    needed = place_symmetric(graph, "conv-inputs", {}).activations.values()
    missing = missing_names(cache.amax, needed)
    if missing:
        named = f"{', '.join(missing[:_NAMED])}{' and others' if len(missing) > _NAMED else ''}"
        raise CalibrationError(
            f"{cache_file} lacks {len(missing)} tensors that layers with weights of {network.path} read: {named}.",
            "Give the network that the cache was made for, its tensors named as then; or calibrate on images.",
        )
    known = {*graph.inputs, *graph.producer}
    record = RangesRecord(
        method=_METHODS.get(cache.algorithm, _MIN_MAX),
        frames=0,
        model_sha256=network.sha256,
        data_sha256=sha256_file(cache_file),
        data=f"the calibration cache {cache_file.name} of TensorRT {cache.version}",
        preprocessing=network.manifest.input,
        tensors={name: _bounds(graph, name, amax) for name, amax in cache.amax.items() if name in known},
    )
    return save_ranges(out, network, record)


def _bounds(graph: Graph, name: str, amax: float) -> TensorRange:
    producer = graph.producer.get(name)
    low = 0.0 if producer is not None and producer.op_type in _NOT_NEGATIVE else -amax
    return TensorRange(low=low, high=amax, amax=amax, seen_low=low, seen_high=amax)
