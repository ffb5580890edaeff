"""Checkpoint to TensorRT engine without ONNX between: torch-tensorrt converts what torch.export captured.

It stands in the workshop because it needs torch; the engine is opened by the vehicle's `tensorrt` backend. Never run on
a device; the conversion itself was seen with torch-tensorrt 2.13 over TensorRT-RTX.
"""

from __future__ import annotations

from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import nn

from jetseg.artifact_file import new_artifact
from jetseg.config import changed
from jetseg.errors import DeviceError
from jetseg.evaluation.tasks import refuse_several
from jetseg.exporters.config import PlanConfig
from jetseg.exporters.graph_ends import DeployedNetwork
from jetseg.exporters.onnx_export import ExportResult, example_input
from jetseg.exporters.parity import parity_frames
from jetseg.exporters.plan_builder import build_plan, load_torch_tensorrt
from jetseg.exporters.plan_graph import HalfInside, capture, check_captured
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, Stage
from jetseg.network import Network, open_network
from jetseg.postprocess import score_threshold
from jetseg.preprocess import Preprocessor
from jetseg.training.checkpoint import load_checkpoint

DEVICE = "cuda"
_FRAMES = 2
"""On so many random images the graph is compared with the network."""


def convert_to_plan(checkpoint: Network, config: PlanConfig, out: Path) -> ExportResult:
    """Converts a checkpoint on the device that will run it; batch 1, static shapes.

    The graph, in its precision, is compared with the network before it is converted; the plan is not run.

    Args:
        checkpoint: Network to convert.
        config: Settings.
        out: Engine to write.

    Raises:
        MissingDependencyError: torch-tensorrt is not installed.
        DeviceError: torch sees no GPU.
        ArtifactError: The checkpoint is broken, or the network cannot be converted.
        QualityError: In this precision the network computes something else.
    """
    library = load_torch_tensorrt()
    device = _gpu_label()
    network, parent = load_checkpoint(checkpoint)
    refuse_several(parent, "Conversion by torch-tensorrt")
    network.requires_grad_(False)
    spec = changed(parent.input, kind=config.input, name=None)
    example = example_input(spec).to(DEVICE)
    plan = build_plan(library, _captured(network.to(DEVICE), parent, spec, config), example, config)
    layers = {"layers": dict(plan.layers), "matrix_layers": dict(plan.matrix_layers)}
    stage = Stage(name="export", settings={**config.model_dump(mode="json"), "converter": "torch-tensorrt", **layers})
    derived = parent.derive(stage, kind="engine", backend=plan.edition, precision=config.precision, input=spec)
    with new_artifact(out) as draft:
        draft.path.write_bytes(plan.content)
        draft.describe(derived.with_output(kind=config.head), device=device, versions=dict(plan.versions))
    return ExportResult(open_network(out), plan.layers)


def _captured(
    network: nn.Module, parent: Manifest, spec: InputSpec, config: PlanConfig
) -> torch.export.ExportedProgram:
    """Captures a network in its precision, and proves that the graph computes what it computes."""
    plain, deployed = Preprocessor(changed(spec, kind="normalized")), Preprocessor(spec)
    frames = parity_frames(parent, None, _FRAMES)
    with torch.no_grad():
        expected = [network(torch.from_numpy(plain(frame)).to(DEVICE)) for frame in frames]
    inside = HalfInside(network) if config.precision == "fp16" else network
    threshold = score_threshold(parent.output)
    module = DeployedNetwork(inside, spec, config.input, config.head, threshold, for_plan=True).eval().to(DEVICE)
    program = capture(module, example_input(spec).to(DEVICE))
    if threshold is not None and config.head == "classmap":  # class 1 is chosen where its score is above the threshold
        expected = [torch.cat([torch.full_like(score, threshold), score], dim=1) for score in expected]
    images = [torch.from_numpy(deployed(frame)).to(DEVICE) for frame in frames]
    check_captured(program.module(), images, expected, config.precision)
    return program


def _gpu_label() -> str:
    """Names the GPU as the runtime does, which opens the engine only there."""
    if not torch.cuda.is_available():
        raise DeviceError("torch sees no GPU.", "Run on the device, with a torch that was built for CUDA.")
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} (sm_{major}{minor})"
