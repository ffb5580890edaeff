"""The one place that touches ONNX Runtime: opens sessions, and explains what is wrong with a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.errors import ArtifactError, JetsegError, MissingDependencyError, OutOfMemoryError
from jetseg.main_thread import opening, working
from jetseg.manifest import Manifest
from jetseg.onnx.file import load_onnx, to_bytes
from jetseg.onnx.graph import Graph
from jetseg.onnx.half import has_half, to_float32
from jetseg.onnx.memory import check_memory
from jetseg.onnx.signature import check_input, pick_tensor
from jetseg.onnx.subnormals import zero_subnormals
from jetseg.output_shape import check_output

try:
    import onnxruntime
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("onnxruntime", "cpu", "runs ONNX networks") from error

_NUMPY_TYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""Types of tensors, by ONNX Runtime's name."""
_OUT_OF_MEMORY = re.compile(r"bad_alloc|allocate memory|would require more than \d+ bytes|out of memory", re.I)
_ASKED = re.compile(r"requested buffer of size (\d+)")


def make_session(
    model: Path | bytes,
    *,
    sha256: str | None = None,
    threads: int | None = None,
    optimize: bool = True,
    integers: bool = False,
    arena: bool = True,
    profile: Path | None = None,
    optimized: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Opens a CPU session.

    ONNX Runtime gets the network as bytes with all weights inside, never a path: it opens no file.

    Args:
        model: ONNX file, which is computed in float32 if it is in half precision; or its serialized content, with all
            weights inside.
        sha256: The hash that the file had when it was checked.
        threads: Threads inside an operator; None lets ONNX Runtime take one per core.
        optimize: False runs the graph node by node as it stands, without fusions.
        integers: Whether the network holds quantizers. ONNX Runtime would fuse a matrix product with its bias first,
                and then compute it in float, slower than without quantizers; and make some of int8 activations uint8.
        arena: False gives memory back after each run, and does not take it by powers of two.
        profile: Start of the name of a file that tells how long each step took, written by `end_profiling`.
        optimized: File to write the network to as it is computed, with what was fused.

    Raises:
        ArtifactError: The file is damaged, incomplete, or uses an operator that ONNX Runtime lacks.
        OutOfMemoryError: The network asks for more memory than there is.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it would write of an error is in the exception
    options.enable_cpu_mem_arena = arena
    # threads that wait for work sleep: spinning ones take the cores of camera, monitor and whatever else runs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # by default it looks for a format of its own first, which may name further files
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if integers:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    name = str(model) if isinstance(model, Path) else "The network"
    content = _content(model, sha256) if isinstance(model, Path) else model
    try:
        skipped = ["MatMulAddFusion"] if integers else []
        with opening(name), zero_subnormals():
            return onnxruntime.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=skipped,
                enable_fallback=0,  # it would print, and try the same again
            )
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise _explained(
            error,
            f"{name} cannot be opened by ONNX Runtime",
            "Check that the file is whole, and that its operators are standard ONNX ones.",
        ) from error


def _content(path: Path, sha256: str | None) -> bytes:
    """Returns what ONNX Runtime is given of a file."""
    model = load_onnx(path, sha256)
    if has_half(model):
        model = to_float32(model, str(path))
    check_memory(model, str(path))
    return to_bytes(model, str(path))


def choose_input_and_output(path: Path, session: onnxruntime.InferenceSession, manifest: Manifest) -> tuple[str, str]:
    """Picks the graph's input and main output; see `choose_input_and_outputs`."""
    name, outputs = choose_input_and_outputs(path, session, manifest)
    return name, outputs[0]


def choose_input_and_outputs(
    path: Path, session: onnxruntime.InferenceSession, manifest: Manifest
) -> tuple[str, list[str]]:
    """Picks the graph's input and outputs that the manifest means, and checks them against it.

    Returns:
        Name of the input, names of the outputs in the order of `manifest.outputs`.

    Raises:
        ManifestError: There are several and the manifest names none, or the shapes or types do not match.
    """
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    input_name = pick_tensor(path, "input", list(inputs), manifest.input.name)
    names = [pick_tensor(path, "output", list(outputs), output.name) for output in manifest.outputs]
    spec = manifest.input
    wanted = "tensor(uint8)" if spec.kind == "frame" else "tensor(float)"
    check_input(path, input_name, inputs[input_name].type, inputs[input_name].shape, wanted, spec)
    for name, task in zip(names, manifest.tasks, strict=True):
        output = outputs[name]
        if output.shape:  # else its number of axes is not known either, and the first inference tells
            check_output(f"{path}: output {name}", output.shape, _NUMPY_TYPES.get(output.type, object), task)
    return input_name, names


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: dict[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """Runs a session.

    Raises:
        OutOfMemoryError: The memory does not suffice.
        ArtifactError: ONNX Runtime failed for another reason.
    """
    try:
        with working("a run of the network"), zero_subnormals():
            found = session.run(list(outputs), feeds)
        return [np.asarray(value) for value in found]
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise _explained(error, "ONNX Runtime failed while running the network") from error


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


def _explained(error: Exception, what: str, fix: str = "") -> JetsegError:
    """Returns the error for a failure of ONNX Runtime, with its own words but without its error code prefix."""
    text = str(error)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        asked = _ASKED.search(text)
        return OutOfMemoryError("running the network with ONNX Runtime", int(asked[1]) if asked else None)
    return ArtifactError(f"{what}: {text.rsplit(' : ', 1)[-1].strip().rstrip('.')}.", fix)
