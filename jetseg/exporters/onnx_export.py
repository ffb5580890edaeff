"""The export stage: checkpoint in, ONNX file out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Literal

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import onnx
import torch
from torch import Tensor, nn

from jetseg.artifact_file import new_artifact
from jetseg.config import changed
from jetseg.data.dataset import Dataset
from jetseg.errors import ArtifactError, ConfigError, MissingDependencyError
from jetseg.evaluation.tasks import has_tasks
from jetseg.exporters.config import ExportConfig
from jetseg.exporters.constants import fold_constants_
from jetseg.exporters.graph_ends import DeployedNetwork, DeployedTasks
from jetseg.exporters.parity import measure_parity, parity_frames
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, Stage
from jetseg.models import outputs_apart
from jetseg.network import Network, open_network
from jetseg.onnx.file import write_onnx
from jetseg.onnx.tensors import flush_subnormals_
from jetseg.onnx.upsampling import without_last_upsampling
from jetseg.postprocess import score_threshold
from jetseg.storage import check_output
from jetseg.training.checkpoint import load_checkpoint

INPUT_NAME = "image"


@dataclass(frozen=True)
class ExportResult:
    """What export made.

    Attributes:
        network: The exported network, opened: an ONNX file with its weights inside, or an engine. The manifest of an
            ONNX file holds the measured parity.
        layers: Layers of an engine by precision, as TensorRT's inspector tells them, or else as its network states.
    """

    network: Network
    layers: Mapping[str, int] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return self.network.path

    @property
    def manifest(self) -> Manifest:
        """Its manifest, as written beside it."""
        return self.network.manifest


def export_onnx(
    checkpoint: Network, config: ExportConfig, out: Path, *, dataset: Dataset | None = None
) -> ExportResult:
    """Exports a checkpoint to ONNX with static shapes and batch 1, and proves that both compute the same.

    Args:
        checkpoint: Network to export.
        config: Settings.
        out: ONNX file to write.
        dataset: Frames to compare torch and ONNX Runtime on; random images by default.

    Raises:
        ArtifactError: The checkpoint is broken, or its network cannot be exported.
        QualityError: ONNX Runtime computes something else than torch; no file is written then.
        MissingDependencyError: onnxscript or onnxruntime is not installed.
    """
    check_output(out, ".onnx", [checkpoint.path])
    network, parent = load_checkpoint(checkpoint)
    network.requires_grad_(False)
    recorded = config.model_dump(mode="json", exclude_none=True)
    if dataset is not None:
        recorded["data"] = dataset.spec
    if has_tasks(parent) and (config.head == "confidence" or config.coarse):
        raise ConfigError("`head` confidence and `coarse` are for one map of classes.", "Take logits or classmap.")
    if config.head == "confidence" and parent.output.activation != "softmax":
        raise ConfigError("`head` confidence is for networks with a channel per class.", "Use classmap.")
    manifest = _manifest(parent, config, Stage(name="export", settings=recorded))
    split = None if dataset is None else dataset.split(config.split)
    model = _export(network, manifest, config)
    frames = parity_frames(manifest, split, config.parity_frames)
    with new_artifact(out) as draft:
        write_onnx(draft.path, model)
        parity = measure_parity(draft.path, manifest, network, frames, out.name)
        if config.coarse:
            write_onnx(draft.path, without_last_upsampling(model))
        draft.describe(manifest.changed(parity=parity))
    return ExportResult(open_network(out))


def _export(network: nn.Module, manifest: Manifest, config: ExportConfig) -> onnx.ModelProto:
    example = example_input(manifest.input)
    if len(manifest.outputs) == 1:
        threshold = None if manifest.output.task == "depth" else score_threshold(manifest.output)
        deployed: nn.Module = DeployedNetwork(
            network, manifest.input, config.input, config.head, threshold, temperature=config.temperature
        )
        return export_module(deployed.eval(), example, config.head, config.opset)
    ends = [
        ("logits" if output.kind == "logits" else config.head, score_threshold(output) if output.classes else None)
        for output in manifest.outputs
    ]
    names = [output.label for output in manifest.outputs]
    with outputs_apart(network):
        return export_module(
            DeployedTasks(network, manifest.input, config.input, ends).eval(), example, names, config.opset
        )


def export_module(
    module: nn.Module, example: Tensor, output_name: str | Sequence[str], opset: int = 18
) -> onnx.ModelProto:
    """Exports a module with one input, named `image`, and one or several outputs; every shape is static.

    Args:
        module: In eval mode.
        example: An input of the type and size to export for.
        output_name: Name of the output, or of each.
        opset: ONNX opset.

    Returns:
        A checked model with its weights inside and without the exporter's source notes.

    Raises:
        ArtifactError: The module holds an operation or control flow that cannot be exported.
        MissingDependencyError: onnxscript is not installed.
    """
    model = run_exporter(module, example, output_name, opset)
    finish_(model)
    return model


def run_exporter(
    module: nn.Module, example: Tensor, output_name: str | Sequence[str], opset: int = 18, *, optimize: bool = True
) -> onnx.ModelProto:
    """Returns what torch's exporter makes of a module: the first part of `export_module`, which raises the same.

    Without `optimize`, no constants are folded, and batch norms are not joined with convolutions.
    """
    try:
        import onnxscript  # noqa: F401 - torch imports it late and reports its absence at length
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "train", "exports networks to ONNX") from error
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                external_data=False,
                input_names=[INPUT_NAME],
                output_names=[output_name] if isinstance(output_name, str) else list(output_name),
                opset_version=opset,
                verbose=False,
                optimize=optimize,
            )
        if program is None:
            raise ArtifactError("torch.onnx returned nothing.")
        return program.model_proto
    except Exception as error:  # whatever a foreign network or torch's exporter raises
        raise _refused(error) from error


def finish_(model: onnx.ModelProto) -> None:
    """Folds constants, checks the model, and takes out the exporter's notes; see `export_module`."""
    try:
        fold_constants_(model)
        flush_subnormals_(model)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # likewise
        raise _refused(error) from error
    _strip_notes_(model)


def _refused(error: Exception) -> ArtifactError:
    return ArtifactError(
        f"The network could not be exported to ONNX: {first_line(error)}",
        "Its forward must not choose operations by the values of tensors; `jetseg --debug` shows where.",
    )


def example_input(spec: InputSpec) -> Tensor:
    """Returns zeros of the shape and type that a network with this input takes."""
    if spec.kind == "frame":
        return torch.zeros((1, spec.height, spec.width, 3), dtype=torch.uint8)
    return torch.zeros((1, spec.channels, spec.height, spec.width))


def _manifest(parent: Manifest, config: ExportConfig, stage: Stage) -> Manifest:
    size = {"height": config.height or parent.input.height, "width": config.width or parent.input.width}
    spec = changed(parent.input, name=INPUT_NAME, kind=config.input, **size)
    kind: Literal["logits", "classmap"] = "logits" if config.head == "logits" else "classmap"
    made = parent.derive(stage, kind="onnx", input=spec)
    if has_tasks(parent):
        outputs = [changed(output, kind=kind if output.classes else "logits") for output in parent.outputs]
        named = [changed(output, name=output.name or output.label) for output in outputs]
        return made.changed(outputs=tuple(named if len(named) > 1 else [changed(named[0], name=config.head)]))
    return made.with_output(name=config.head, kind=kind, confidence=config.head == "confidence")


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keeps the exporter's progress reports, deprecation warnings and log lines from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_line(error: Exception) -> str:
    """Returns the innermost cause in one line; torch wraps it in pages of advice."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0].strip() if lines else ''}"


def _strip_notes_(model: onnx.ModelProto) -> None:
    """Removes the exporter's notes, which hold stack traces with paths of this machine."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del item.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
