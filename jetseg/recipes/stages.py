"""The kinds of stages that a recipe can name: what each one takes, makes and calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jetseg.config import validate_config
from jetseg.errors import ConfigError
from jetseg.workflows.stage_results import Artifacts

Settings = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        run: Runs it with complete settings, and tells what it made.
        takes: Which setting gets the newest artifact of a kind, unless the recipe gives it.
        out: Name of the file, in the stage's folder, that the setting `out` gets; "" for the folder itself.
        uses_data: Whether it has a setting `data`.
    """

    run: Callable[[Settings], Artifacts]
    takes: Mapping[str, str]
    out: str
    uses_data: bool = True


def _train(settings: Settings) -> Artifacts:
    from jetseg.train.config import TrainConfig
    from jetseg.train.loop import run

    return {"checkpoint": run(validate_config(TrainConfig, settings)).best}


def _prune(settings: Settings) -> Artifacts:
    from jetseg.compress.prune import PruneConfig, run
    from jetseg.workflows.speed_meter import speed_meter

    config = validate_config(PruneConfig, settings)
    return {"checkpoint": run(config, speed_meter(config)).checkpoint}


def _factorize(settings: Settings) -> Artifacts:
    from jetseg.compress.factorize import FactorizeConfig, run
    from jetseg.workflows.speed_meter import layer_timer

    config = validate_config(FactorizeConfig, settings)
    return {"checkpoint": run(config, layer_timer(config)).checkpoint}


def _export(settings: Settings) -> Artifacts:
    from jetseg.export.onnx_export import ExportConfig, run

    return {"onnx": run(validate_config(ExportConfig, settings)).path}


def _calibrate(settings: Settings) -> Artifacts:
    from jetseg.quantization.calibration import CalibrateConfig, run

    config = validate_config(CalibrateConfig, settings)
    run(config)
    return {"ranges": config.out}


def _quantize(settings: Settings) -> Artifacts:
    """Trains under fake quantization; made are the trained float network and its ranges."""
    from jetseg.compress.qat.artifacts import float_twin_path
    from jetseg.compress.qat.config import QuantizeConfig
    from jetseg.compress.qat.training import run
    from jetseg.quantization.render import write_qdq, write_trained_ranges

    own = dict(settings)
    model, ranges, out = own["parent"], own.pop("calibration", None), own["out"]
    if ranges is None:
        raise ConfigError("quantize has no ranges to start from.", "Put a calibrate stage before it.")
    config = validate_config(QuantizeConfig, {**own, "qdq": out.with_suffix(".start.onnx")})
    write_qdq(model, ranges, config.qdq)
    run(config)
    twin = float_twin_path(out)
    return {"onnx": twin, "ranges": write_trained_ranges(out, twin, model, ranges)}


def _build(settings: Settings) -> Artifacts:
    from jetseg.engine.build import run
    from jetseg.engine.build_config import BuildConfig

    return {"engine": run(validate_config(BuildConfig, settings)).engine}


KINDS: dict[str, Kind] = {
    "train": Kind(_train, {}, out=""),
    "fine-tune": Kind(_train, {"checkpoint": "init"}, out=""),
    "prune": Kind(_prune, {"checkpoint": "checkpoint"}, out="pruned.safetensors"),
    "factorize": Kind(_factorize, {"checkpoint": "checkpoint"}, out="factorized.safetensors", uses_data=False),
    "export": Kind(_export, {"checkpoint": "checkpoint"}, out="network.onnx", uses_data=False),
    "calibrate": Kind(_calibrate, {"onnx": "model"}, out="network.ranges.json"),
    "quantize": Kind(_quantize, {"onnx": "parent", "ranges": "calibration"}, out="network.qdq.onnx"),
    "build-engine": Kind(_build, {"onnx": "model", "ranges": "calibration"}, out="network.engine.onnx"),
}
