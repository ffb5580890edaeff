"""Says before a build what TensorRT refuses, what will be slow, and what the DLA leaves to the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from jetseg.engine.tensorrt.dla import MAX_LOADABLES, DlaPlan, plan_dla
from jetseg.engine.tensorrt.legalize import legalize_
from jetseg.engine.tensorrt.lint_config import Device, LintConfig
from jetseg.engine.tensorrt.parser_rules import bad_types, refusal
from jetseg.engine.tensorrt.source import fix_input_size_
from jetseg.errors import ConfigError
from jetseg.manifest import Manifest
from jetseg.onnx.file import load_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE, QUANTIZED_OPERATORS, of_type
from jetseg.onnx.trainable import untrainable
from jetseg.quantization.qdq.kernels import is_matrix_layer
from jetseg.quantization.tensorrt.rules import check_qdq
from jetseg.targets import Software, find_target

Kind = Literal["refused", "dla", "slow", "qat"]
_CHANNELS = 32
"""INT8 tensor cores work on this many input channels at a time."""
_PRODUCTS = {
    "Conv": "convolution",
    "ConvTranspose": "transposed convolution",
    "Gemm": "product",
    "MatMul": "product",
    "Einsum": "product",
}
_QUANTIZERS = frozenset({QUANTIZE, DEQUANTIZE})
_NO_OPERATORS = _QUANTIZERS | {"Constant"}
_LAST_DLA_OF_10, _FIRST_DLA_OF_11, _OLDEST = (10, 7), (11, 4, 1), (10, 3)
"""The DLA: docs.nvidia.com/deeplearning/tensorrt/11.4.1/inference-library/work-with-dla.html."""


@dataclass(frozen=True)
class LintFinding:
    """One thing about a node.

    Attributes:
        kind: "refused", TensorRT's parser does not take it; "dla", the GPU has to run it; "slow", it wastes time;
            "qat", quantization-aware training refuses it.
        node: The node's first output; empty if it is about the whole network.
        operator: Its operator.
        found: What is so.
        fix: What to do.
    """

    kind: Kind
    node: str
    operator: str
    found: str
    fix: str


@dataclass(frozen=True)
class LintResult:
    """What a lint found.

    Attributes:
        findings: In the order of the network, what is refused first.
        nodes: How many nodes there are.
        dla: How DLA and GPU would share them; None if the DLA was not asked for.
        rewritten: What the builder rewrites by itself.
        releases: What to know about the target's TensorRT versions.
    """

    findings: tuple[LintFinding, ...]
    nodes: int
    dla: DlaPlan | None
    rewritten: tuple[str, ...]
    releases: tuple[str, ...]


def lint(path: Path, config: LintConfig, manifest: Manifest | None = None, sha256: str | None = None) -> LintResult:
    """Checks a network against what TensorRT and the DLA are known to take. Nothing is built.

    Args:
        path: ONNX file: float, or with explicit quantizers.
        config: What it is for.
        manifest: Its manifest; without any, the network's own sizes hold.
        sha256: The hash that the file had when it was checked.

    Raises:
        ConfigError: The target is unknown, or has no DLA.
        JetsegError: The network is broken.
    """
    target = find_target(config.target) if config.target else None
    if target is not None and config.device == "dla" and target.dla_cores == 0:
        raise ConfigError(f"{target.title} has no DLA.", "Leave out `device` dla.")
    graph = _load(path, sha256)
    if manifest is not None:
        fix_input_size_(graph, manifest.input)
    rewritten = legalize_(graph)
    dla = plan_dla(graph) if config.device == "dla" else None
    findings = [*_refused(graph), *_on_gpu(graph, dla), *_slow(graph), *_untrainable(graph)]
    releases = tuple(_about(software, config.device) for software in target.software) if target else ()
    return LintResult(tuple(findings), len(graph.nodes), dla, rewritten, releases)


def _load(path: Path, sha256: str | None) -> Graph:
    """Loads a network as the builder would; one with quantizers as it stands."""
    model = load_onnx(path, sha256)
    if any(node.op_type in QUANTIZED_OPERATORS for node in model.graph.node):
        return Graph(model)
    return load_float_graph(path, sha256)


def _refused(graph: Graph) -> Iterator[LintFinding]:
    for name in graph.inputs:
        if None in graph.shapes.get(name, ()):
            yield LintFinding(
                "refused",
                name,
                "input",
                "a size is not fixed.",
                "Give a manifest with the size, or options max_batch, smallest and largest.",
            )
    for name, kind in bad_types(graph):
        yield LintFinding("refused", name, "", f"TensorRT has no {kind}.", "Store it as int32 or float32.")
    for node in graph.nodes:
        reason = refusal(graph, node)
        if reason:
            yield LintFinding("refused", node.output[0], node.op_type, *reason)
    for violation in check_qdq(graph.model) if any(of_type(graph, QUANTIZE)) else ():
        maker = graph.producer.get(violation.place)
        operator = maker.op_type if maker else ""
        yield LintFinding("refused", violation.place, operator, violation.found, violation.fix)


def _on_gpu(graph: Graph, dla: DlaPlan | None) -> Iterator[LintFinding]:
    if dla is None:
        return
    for name, reason in dla.on_gpu.items():
        node = graph.producer[name]
        yield LintFinding("dla", name, node.op_type, f"{reason}.", "It runs on the GPU, with a hop before and after.")
    if dla.pieces > MAX_LOADABLES:
        fix = "Replace operators that cut the network, or leave it on the GPU."
        yield LintFinding("dla", "", "", f"{dla.pieces} pieces, and a core holds {MAX_LOADABLES}.", fix)


def _slow(graph: Graph) -> Iterator[LintFinding]:
    """Yields layers that leave INT8 tensor cores partly idle, and products that stay in float beside INT8."""
    for node in graph.nodes:
        if node.op_type not in _PRODUCTS:
            continue
        if not is_matrix_layer(graph, node) and not _quantized(graph, node):
            yield LintFinding(
                "slow",
                node.output[0],
                node.op_type,
                "it stays in float beside int8: quantized are products with a constant weight of two axes, and not "
                "those of two computed tensors, as in attention.",
                "Build with `options` rest=fp16, and measure.",
            )
            continue
        found = _idle(graph, node)
        if found:
            yield LintFinding("slow", node.output[0], node.op_type, *found)


def _quantized(graph: Graph, node: onnx.NodeProto) -> bool:
    makers = [graph.producer.get(name) for name in node.input[:2]]
    return any(maker is not None and maker.op_type == DEQUANTIZE for maker in makers)


def _idle(graph: Graph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Returns how a layer does not fill tensor cores, and what to do; None if it does."""
    groups, inputs = attribute_int(node, "group", 1), _input_channels(graph, node)
    if inputs is None:
        return None
    if groups > 1 and inputs < _CHANNELS:
        found = f"a {_PRODUCTS[node.op_type]} in {groups} groups of {inputs} input channels does not fill tensor cores."
        return found, "INT8 gains little here; measure before you keep it."
    if groups == 1 and inputs % _CHANNELS and node.input[0] in graph.producer:  # nobody chooses an input's channels
        found = f"{inputs} input channels are computed as {-(-inputs // _CHANNELS) * _CHANNELS}."
        return found, "Prune to multiples: `jetseg prune --round-to 32`."
    return None


def _input_channels(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Returns how many values of its input a layer sums up at each place of its kernel, per group."""
    shape = graph.shapes.get(node.input[1])
    if shape is None or len(shape) < 2:
        return None
    if node.op_type == "ConvTranspose":
        return None if shape[0] is None else shape[0] // attribute_int(node, "group", 1)
    if node.op_type == "Conv":
        return shape[1]
    return shape[-1] if node.op_type == "Gemm" and attribute_int(node, "transB", 0) else shape[-2]


def _untrainable(graph: Graph) -> Iterator[LintFinding]:
    """Yields what quantization-aware training would refuse, by the table that it goes by itself."""
    for node in graph.nodes:
        reason = None if node.op_type in _NO_OPERATORS else untrainable(graph, node)
        if reason:
            yield LintFinding(
                "qat",
                node.output[0],
                node.op_type,
                f"for quantization-aware training it is {reason}.",
                "Quantize after training instead.",
            )


def _about(software: Software, device: Device) -> str:
    version = tuple(int(part) for part in software.tensorrt.split("."))
    name = f"JetPack {software.jetpack}, TensorRT {software.tensorrt}"
    if version < _OLDEST:
        return f"{name}: older than what jetseg builds for; use the CPU engine."
    ways = "int8 by explicit quantizers only" if version[0] > 10 else "int8 by explicit or implicit quantization"
    if device == "gpu":
        return f"{name}: {ways}."
    if _LAST_DLA_OF_10 < version < _FIRST_DLA_OF_11:
        return f"{name}: it offers no DLA; 10.7 was the last of 10 that did, and 11.4.1 is the next."
    return f"{name}: fp16, and {'int8 by explicit quantizers' if version[0] > 10 else 'int8 by implicit quantization'}."
