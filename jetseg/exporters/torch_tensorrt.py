"""Checkpoint to TensorRT engine without ONNX between: torch-tensorrt converts what torch.export captured.

It stands in the workshop because it needs torch; the engine is opened by the vehicle's `tensorrt` backend. Never run on
a device, nor with torch-tensorrt itself.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch

from jetseg.config import changed
from jetseg.errors import ArtifactError, DeviceError, MissingDependencyError
from jetseg.exporters.config import PlanConfig
from jetseg.exporters.graph_ends import DeployedNetwork
from jetseg.exporters.onnx_export import ExportResult, example_input, first_line
from jetseg.manifest import Stage
from jetseg.network import Network, open_network, save_manifest
from jetseg.postprocess import score_threshold
from jetseg.storage import write_bytes
from jetseg.training.checkpoint import load_checkpoint

DEVICE = "cuda"
PLAN_SUFFIX = ".engine"


def convert_to_plan(checkpoint: Network, config: PlanConfig, out: Path) -> ExportResult:
    """Converts a checkpoint on the device that will run it; batch 1, static shapes.

    Args:
        checkpoint: Network to convert.
        config: Settings.
        out: Engine to write.

    Raises:
        MissingDependencyError: torch-tensorrt is not installed.
        DeviceError: torch sees no GPU.
        ArtifactError: The checkpoint is broken, or the network cannot be converted.
    """
    library = _load()
    device = _gpu_label()
    network, parent = load_checkpoint(checkpoint)
    network.requires_grad_(False)
    spec = changed(parent.input, kind=config.input, name=None)
    threshold = score_threshold(parent.output)
    deployed = DeployedNetwork(network, spec, config.input, config.head, threshold).eval().to(DEVICE)
    plan = _convert(library, deployed, example_input(spec).to(DEVICE), config)
    stage = Stage(name="export", settings={**config.model_dump(mode="json"), "converter": "torch-tensorrt"})
    derived = parent.derive(stage, kind="engine", backend="tensorrt", precision=config.precision, input=spec)
    manifest = derived.with_output(kind=config.head)
    write_bytes(out, plan)
    versions = {"torch-tensorrt": str(library.__version__), "tensorrt": _tensorrt_version()}
    save_manifest(out, manifest, device=device, versions=versions)
    return ExportResult(open_network(out))


def _load() -> ModuleType:
    try:
        return importlib.import_module("torch_tensorrt")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "torch_tensorrt",
            "train",
            "converts checkpoints to TensorRT engines",
            fix="NVIDIA's package host has it, for one torch and one TensorRT version each. Without it, export to ONNX "
            "(NAME.onnx) and use `jetseg build-engine --backend tensorrt`.",
        ) from error


def _gpu_label() -> str:
    """Names the GPU as the runtime does, which opens the engine only there."""
    if not torch.cuda.is_available():
        raise DeviceError("torch sees no GPU.", "Run on the device, with a torch that was built for CUDA.")
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} (sm_{major}{minor})"


def _tensorrt_version() -> str:
    return str(importlib.import_module("tensorrt").__version__)


def _convert(library: ModuleType, deployed: DeployedNetwork, example: torch.Tensor, config: PlanConfig) -> bytes:
    settings: dict[str, Any] = {
        "workspace_size": config.workspace_mb << 20,
        "optimization_level": config.optimization_level,
        "disable_tf32": config.precision == "fp32",
    }
    if config.precision == "fp16":
        settings["enabled_precisions"] = {torch.float16, torch.float32}
    try:
        program = torch.export.export(deployed, (example,))
        convert = library.dynamo.convert_exported_program_to_serialized_trt_engine
        plan: bytes = convert(program, inputs=[example], **settings)
    except Exception as error:  # whatever a foreign network, torch or torch-tensorrt raises
        raise ArtifactError(
            f"torch-tensorrt could not convert the network: {first_line(error).rstrip('.')}.",
            "Export it to ONNX and use `jetseg build-engine --backend tensorrt`; `jetseg --debug` shows where.",
        ) from error
    return bytes(plan)
