"""From a checkpoint to an ONNX file, or to a TensorRT engine without ONNX between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.config import validate_config
from jetseg.exporters.config import ExportConfig, PlanConfig
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.workflows.opening import as_network

if TYPE_CHECKING:
    from jetseg.data.dataset import Dataset
    from jetseg.exporters.onnx_export import ExportResult

PLAN_SUFFIX = ".engine"


def export(
    checkpoint: Network | Path | str,
    *,
    out: Path | str | None = None,
    data: Dataset | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> ExportResult:
    """Exports a checkpoint to one ONNX file of static shapes and batch 1, and proves that it computes the same.

    Args:
        checkpoint: Network to export, opened or by its path.
        out: File to write; by default the checkpoint with the suffix `.onnx`. NAME.engine is a TensorRT engine, which
            torch-tensorrt builds on this device without ONNX between and without parity.
        data: Frames to compare torch and ONNX Runtime on, as a spec or opened; random images by default.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.exporters.config.ExportConfig`, as in `head="classmap", input="frame"`; for an
            engine, of `PlanConfig`.

    Returns:
        The exported network, opened; the manifest of an ONNX file holds the measured parity.

    Raises:
        ConfigError: Settings are wrong.
        ArtifactError: The checkpoint is broken, or its network cannot be exported.
        QualityError: ONNX Runtime computes something else than torch; no file is written then.
        MissingDependencyError: torch, onnxscript or onnxruntime is not installed.
    """
    network = as_network(checkpoint)
    target = Path(out) if out else network.path.with_suffix(".onnx")
    with report_progress(progress):
        if target.suffix == PLAN_SUFFIX:
            plan = validate_config(PlanConfig, settings)
            from jetseg.exporters.torch_tensorrt import convert_to_plan

            return _opened(convert_to_plan(network, plan, target))
        config = validate_config(ExportConfig, settings)
        from jetseg.data.dataset import open_dataset
        from jetseg.exporters.onnx_export import export_onnx

        return export_onnx(network, config, target, dataset=None if data is None else open_dataset(data))


def _opened(result: ExportResult) -> ExportResult:
    """Opens an engine, and counts its layers as TensorRT's inspector tells them; TensorRT-RTX's are not opened."""
    if result.manifest.backend != "tensorrt":
        return result
    from jetseg.engine.tensorrt.layers import inspect_layers
    from jetseg.engine.tensorrt.library import load_tensorrt
    from jetseg.engine.tensorrt.options import TensorRTOptions

    found = inspect_layers(load_tensorrt(), result.path.read_bytes(), TensorRTOptions())
    return replace(result, layers=found.precisions) if found.precisions else result
