"""Says before a build what TensorRT refuses, what will be slow, and what the DLA leaves to the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from jetseg.onnx.quantizers import QUANTIZE, QUANTIZED_OPERATORS, of_type
from jetseg.quantization.tensorrt.rules import check_qdq
from jetseg.targets import Software, find_target

Kind = Literal["refused", "dla", "slow"]
_CHANNELS = 32
"""INT8 tensor cores work on this many input channels at a time."""
_LAST_DLA_OF_10, _FIRST_DLA_OF_11, _OLDEST = (10, 7), (11, 4, 1), (10, 3)
"""The DLA: docs.nvidia.com/deeplearning/tensorrt/11.4.1/inference-library/work-with-dla.html."""


@dataclass(frozen=True)
class LintFinding:
    """One thing about a node.

    Attributes:
        kind: "refused", TensorRT's parser does not take it; "dla", the GPU has to run it; "slow", it wastes time.
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


def lint(path: Path, config: LintConfig, manifest: Manifest | None = None) -> LintResult:
    """Checks a network against what TensorRT and the DLA are known to take. Nothing is built.

    Args:
        path: ONNX file: float, or with explicit quantizers.
        config: What it is for.
        manifest: Its manifest; without any, the network's own sizes hold.

    Raises:
        ConfigError: The target is unknown, or has no DLA.
        JetsegError: The network is broken.
    """
    target = find_target(config.target) if config.target else None
    if target is not None and config.device == "dla" and target.dla_cores == 0:
        raise ConfigError(f"{target.title} has no DLA.", "Leave out `device` dla.")
    graph = _load(path)
    if manifest is not None:
        fix_input_size_(graph, manifest.input)
    rewritten = legalize_(graph)
    dla = plan_dla(graph) if config.device == "dla" else None
    findings = [*_refused(graph), *_on_gpu(graph, dla), *_slow(graph)]
    releases = tuple(_about(software, config.device) for software in target.software) if target else ()
    return LintResult(tuple(findings), len(graph.nodes), dla, rewritten, releases)


def _load(path: Path) -> Graph:
    """Loads a network as the builder would; one with quantizers as it stands."""
    model = load_onnx(path)
    if any(node.op_type in QUANTIZED_OPERATORS for node in model.graph.node):
        return Graph(model)
    return load_float_graph(path)


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
    """Yields convolutions that leave INT8 tensor cores partly idle."""
    for node in graph.nodes:
        shape = graph.shapes.get(node.input[1]) if node.op_type == "Conv" else None
        if shape is None or len(shape) != 4 or shape[0] is None or shape[1] is None:
            continue
        groups, inputs = attribute_int(node, "group", 1), shape[1]
        if groups > 1 and inputs < _CHANNELS:
            found = f"a convolution in {groups} groups of {inputs} input channels does not fill tensor cores."
            yield LintFinding(
                "slow", node.output[0], "Conv", found, "INT8 gains little here; measure before you keep it."
            )
        elif groups == 1 and inputs % _CHANNELS and _reads_network(graph, node):
            found = f"{inputs} input channels are computed as {-(-inputs // _CHANNELS) * _CHANNELS}."
            yield LintFinding(
                "slow", node.output[0], "Conv", found, "Prune to multiples: `jetseg prune --round-to 32`."
            )


def _reads_network(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether a layer reads what the network made, and not its input, whose channels nobody chooses."""
    return node.input[0] in graph.producer


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
