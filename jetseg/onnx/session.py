"""The one place that touches ONNX Runtime: opens sessions, and explains what is wrong with a file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.errors import ArtifactError, MissingDependencyError
from jetseg.manifest import Manifest
from jetseg.onnx.file import load_onnx
from jetseg.onnx.graph import Graph
from jetseg.onnx.signature import check_input, pick_tensor

try:
    import onnxruntime
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("onnxruntime", "cpu", "runs ONNX networks") from error


def make_session(
    model: Path | bytes, *, threads: int | None = None, optimize: bool = True, integers: bool = False
) -> onnxruntime.InferenceSession:
    """Opens a CPU session.

    Args:
        model: ONNX file, or its serialized content.
        threads: Threads inside an operator; None lets ONNX Runtime take one per core.
        optimize: False runs the graph node by node as it stands, without fusions.
        integers: Whether the network holds quantizers. ONNX Runtime would fuse a matrix product with its bias first,
            and then compute it in float, slower than without quantizers.

    Raises:
        ArtifactError: The file is damaged, incomplete, or uses an operator that ONNX Runtime lacks.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that wait for work sleep: spinning ones take the cores of camera, monitor and whatever else runs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    name = "The network"
    if isinstance(model, Path):
        name = str(model)
        load_onnx(model, weights=False)
    try:
        source = str(model) if isinstance(model, Path) else model
        skipped = ["MatMulAddFusion"] if integers else []
        return onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], disabled_optimizers=skipped
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ArtifactError(
            f"{name} cannot be opened by ONNX Runtime: {_reason(error)}.",
            "Check that the file is whole, and that its operators are standard ONNX ones.",
        ) from error


def choose_input_and_output(path: Path, session: onnxruntime.InferenceSession, manifest: Manifest) -> tuple[str, str]:
    """Picks the graph's input and output that the manifest means, and checks them against it.

    Returns:
        Name of the input, name of the output.

    Raises:
        ManifestError: There are several and the manifest names none, or the shapes or types do not match.
    """
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    input_name = pick_tensor(path, "input", list(inputs), manifest.input.name)
    output_name = pick_tensor(path, "output", list(outputs), manifest.output.name)
    spec = manifest.input
    wanted = "tensor(uint8)" if spec.kind == "frame" else "tensor(float)"
    check_input(path, input_name, inputs[input_name].type, inputs[input_name].shape, wanted, spec)
    return input_name, output_name


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: dict[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """Runs a session; a failure inside ONNX Runtime becomes an `ArtifactError`."""
    try:
        return [np.asarray(value) for value in session.run(list(outputs), feeds)]
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ArtifactError(f"ONNX Runtime failed while running the network: {_reason(error)}.") from error


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the network in half precision; its inputs and outputs keep their types.

    Operators that have no half-precision form stay in float, with casts around them.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every weight too small for half precision
        graph = Graph(convert_float_to_float16(model, keep_io_types=True))
    graph.sort()  # it puts its casts at the end
    return graph.model


def _reason(error: Exception) -> str:
    """Returns ONNX Runtime's own words without its error code prefix."""
    return str(error).rsplit(" : ", 1)[-1].strip().rstrip(".")
