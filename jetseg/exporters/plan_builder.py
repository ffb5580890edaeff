"""From a captured graph to a serialized TensorRT plan: all of torch-tensorrt that jetseg touches.

Seen with torch-tensorrt 2.13, whose lowering, converters and interpreter are taken piece by piece: its own function for
this work names no operator that it lacks, and keeps the network, from which is read what its layers compute in.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx

from jetseg.errors import ArtifactError, MissingDependencyError
from jetseg.exporters.config import PlanConfig
from jetseg.exporters.onnx_export import first_line

_PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
_MATRIX_LAYERS = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"})
_NO_WORK = frozenset({"CONSTANT", "SHUFFLE", "CAST", "IDENTITY", "SHAPE"})
"""Layers that hold, move or cast values."""


@dataclass(frozen=True)
class Plan:
    """A serialized plan, and what it was built from.

    Attributes:
        content: The plan.
        layers: Layers that compute on numbers with a point, or on int8, by precision, as the network states them; a
            strongly typed network is built in no other.
        matrix_layers: Convolutions and matrix products among them.
        edition: "tensorrt" or "tensorrt_rtx": whose runtime opens the plan.
        versions: torch-tensorrt's and TensorRT's.
    """

    content: bytes
    layers: Mapping[str, int]
    matrix_layers: Mapping[str, int]
    edition: str
    versions: Mapping[str, str]


def load_torch_tensorrt() -> ModuleType:
    """Imports torch-tensorrt.

    Raises:
        MissingDependencyError: It is not installed, or not for this torch and TensorRT.
    """
    try:
        with _quiet():
            return importlib.import_module("torch_tensorrt")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "torch_tensorrt",
            "torch-tensorrt",
            "converts checkpoints to TensorRT engines",
            fix="It needs the CUDA build of torch and TensorRT, each in the version it was made for. Without it, "
            "export to ONNX (NAME.onnx) and use `jetseg build-engine --backend tensorrt`.",
        ) from error


def build_plan(library: ModuleType, program: torch.export.ExportedProgram, example: Tensor, config: PlanConfig) -> Plan:
    """Converts a captured graph with one input and one output.

    Args:
        library: torch-tensorrt.
        program: The graph.
        example: An input.
        config: Settings.

    Raises:
        ArtifactError: An operator cannot be converted; each is named before the work begins. Or TensorRT refuses the
            network, or a layer is not in the precision that was asked for.
    """
    # a class map leaves the graph as int64, and the network, by the type of its output, as uint8
    output = torch.float32 if config.head == "logits" else torch.uint8
    with _quiet() as problems:
        try:
            interpreter = _interpreter(library, program, example, output)
            _check_convertible(interpreter.module.graph.nodes)
            interpreter._construct_trt_network_def()
            network = interpreter.ctx.net
            trt = importlib.import_module("tensorrt")  # torch-tensorrt gives its RTX edition this name as well
            content = interpreter.builder.build_serialized_network(network, _settings(trt, interpreter.builder, config))
        except ArtifactError:
            raise
        except Exception as error:  # whatever torch or torch-tensorrt raises
            raise _refused(first_line(error)) from error
    if content is None:
        raise _refused(problems[0] if problems else "TensorRT's builder gives no reason")
    layers, matrix_layers = _count_layers(network)
    _check_precision(matrix_layers, config.precision)
    edition = str(trt.__package__)
    versions = {"torch-tensorrt": str(library.__version__), edition.replace("_", "-"): str(trt.__version__)}
    return Plan(bytes(content), layers, matrix_layers, edition, versions)


def _interpreter(
    library: ModuleType, program: torch.export.ExportedProgram, example: Tensor, output: torch.dtype
) -> Any:  # noqa: ANN401 - torch-tensorrt's
    """Lowers a graph to the operators that torch-tensorrt has converters for."""
    conversion, lowering = library.dynamo.conversion, library.dynamo.lowering
    settings = library.dynamo.CompilationSettings()
    program = lowering.pre_export_lowering(program, settings)
    program = program.run_decompositions(lowering.get_decompositions())
    module = lowering.post_lowering(program.module(), settings)
    return conversion.TRTInterpreter(
        module, [library.Input.from_tensor(example)], output_dtypes=[output], compilation_settings=settings
    )


def _check_convertible(nodes: Sequence[fx.Node]) -> None:
    """Names every operator that has no converter, or none for the form in which it is used."""
    converters = importlib.import_module("torch_tensorrt.dynamo.conversion").DYNAMO_CONVERTERS
    lacking: dict[str, list[str]] = {}
    for node in nodes:
        if node.op == "call_function" and converters.get(node) is None:
            lacking.setdefault(str(node.target).removeprefix("torch.ops."), []).append(node.name)
    if lacking:
        named = ", ".join(
            f"{operator} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
            for operator, names in sorted(lacking.items())
        )
        raise ArtifactError(
            f"torch-tensorrt cannot convert these operators: {named}.",
            "Replace them in the network, or export to ONNX and use `jetseg build-engine --backend tensorrt`.",
        )


def _settings(trt: ModuleType, builder: Any, config: PlanConfig) -> Any:  # noqa: ANN401 - TensorRT's
    settings = builder.create_builder_config()
    if config.workspace_mb:
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_mb << 20)
    settings.builder_optimization_level = config.optimization_level
    settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector tells each layer's precision then
    if config.precision == "fp32":  # no shortened mantissas
        settings.clear_flag(trt.BuilderFlag.TF32)
    return settings


def _count_layers(network: Any) -> tuple[dict[str, int], dict[str, int]]:  # noqa: ANN401 - TensorRT's
    """Counts layers that compute, and matrix layers among them, by precision."""
    layers, matrix_layers = Counter[str](), Counter[str]()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        precision = _PRECISIONS.get(layer.get_output(0).dtype.name)
        if precision is None or layer.type.name in _NO_WORK:
            continue
        layers[precision] += 1
        matrix_layers[precision] += layer.type.name in _MATRIX_LAYERS
    return dict(layers), dict(+matrix_layers)


def _check_precision(matrix_layers: Mapping[str, int], asked: str) -> None:
    others = {precision: count for precision, count in matrix_layers.items() if precision != asked}
    if others:
        counted = ", ".join(f"{count} in {precision}" for precision, count in others.items())
        raise ArtifactError(
            f"Of {sum(matrix_layers.values())} convolutions and matrix products, {counted}; {asked} was asked for.",
            "The network casts inside; take that out of its forward, or export to ONNX.",
        )


def _refused(reason: str) -> ArtifactError:
    return ArtifactError(
        f"torch-tensorrt could not convert the network: {reason.rstrip('.')}.",
        "Export it to ONNX and use `jetseg build-engine --backend tensorrt`; `jetseg --debug` shows where.",
    )


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keeps torch-tensorrt's pages from the user; yields the first lines of its errors."""
    problems: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR and "torch_tensorrt" in record.name:
                problems.append(record.getMessage().split("\n", 1)[0])

    root, keep = logging.getLogger(), Keep()
    before = root.handlers[:]
    root.handlers[:] = [keep]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield problems
    finally:
        root.handlers[:] = before
