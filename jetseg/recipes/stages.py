"""The kinds of stages that a recipe can name: what each one takes, makes and calls."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jetseg.artifact_file import copy_artifact
from jetseg.compress.config import FactorizeConfig, FineTuneConfig, PruneConfig, ResizeConfig
from jetseg.compress.qat.config import RENAMED as RENAMED_IN_QAT
from jetseg.compress.qat.config import QatConfig
from jetseg.config import validate_config
from jetseg.engine.backend import find_backend
from jetseg.engine.config import AUTO, BuildConfig
from jetseg.evaluation.accuracy import Labels
from jetseg.exporters.config import ExportConfig
from jetseg.network import Network, open_network
from jetseg.quantization.config import CalibrateConfig
from jetseg.training.config import TrainConfig
from jetseg.training.renamed import accept_old_names
from jetseg.workflows.config import StartRanges, validate_each
from jetseg.workflows.stage_results import Artifacts

_LOG = logging.getLogger(__name__)

Settings = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        run: Runs it with complete settings, and tells what it made.
        takes: Which setting gets the newest artifact of a kind, unless the recipe gives it.
        out: Name of the file, in the stage's folder, that the setting `out` gets; "" for the folder itself.
        uses_data: Whether it has a setting `data`.
        models: The settings that it has beside its inputs.
        inputs: What else it can be given.
        needs: Modules that say, when they are imported, which library is missing.
        watches: The settings that name splits whose classes must be the network's, and whether labels are needed.
    """

    run: Callable[[Settings], Artifacts]
    takes: Mapping[str, str]
    out: str
    uses_data: bool = True
    models: tuple[type[BaseModel], ...] = ()
    inputs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    watches: Mapping[str, Labels] = field(default_factory=dict)

    def check(self, settings: Settings) -> None:
        """Refuses settings that are wrong whatever the stages before make.

        Raises:
            ConfigError: Some are wrong; all mistakes are named.
            MissingDependencyError: A library is not installed.
        """
        for module in self.needs:
            importlib.import_module(module)
        if not self.models:
            return
        inputs = {*self.takes.values(), *self.inputs, "data", "out"}
        known = {name for model in self.models for name in model.model_fields}
        own = {key: value for key, value in settings.items() if key in known or key not in inputs}
        given: Settings = {key: Path("later") for key in self.takes.values() if key in known}
        if self.uses_data and {"data", "out"} <= known:
            given |= {"data": "later", "out": Path("later")}
        first, *_ = validate_each({**given, **own}, *self.models)
        if isinstance(first, BuildConfig) and first.precision != "auto" and first.backend != AUTO:
            backend = find_backend(first.backend)
            backend.check(first.precision, validate_config(backend.options, first.options))

    def splits(self, settings: Settings) -> dict[str, Labels]:
        """Returns the splits that it scores a network on or learns from, and whether they must have labels."""
        fields = {name: field for model in self.models for name, field in model.model_fields.items()}
        labels: Labels = "needed" if settings.get("labels", True) else "optional"
        return {
            settings.get(name, fields[name].default): need if labels == "needed" else labels
            for name, need in self.watches.items()
        }


def _train(settings: Settings) -> Artifacts:
    from jetseg.workflows.training import train

    return {"checkpoint": train(**settings).best}


def _prune(settings: Settings) -> Artifacts:
    from jetseg.workflows.pruning import prune

    return {"checkpoint": prune(**settings).checkpoint}


def _factorize(settings: Settings) -> Artifacts:
    """Factorizes; where low rank pays for no layer, the network is passed on as it is."""
    from jetseg.workflows.pruning import factorize

    result = factorize(**settings)
    if not result.pays:
        _LOG.warning("Low rank pays for no layer of this network; it stays as it is.")
        copy_artifact(Path(settings["checkpoint"]), result.checkpoint)
    return {"checkpoint": result.checkpoint}


def _resize(settings: Settings) -> Artifacts:
    from jetseg.workflows.resizing import resize

    return {"checkpoint": resize(**settings).path}


def _export(settings: Settings) -> Artifacts:
    from jetseg.workflows.exporting import export

    return {"onnx": export(**settings).path}


def _calibrate(settings: Settings) -> Artifacts:
    from jetseg.workflows.calibration import calibrate

    return {"ranges": calibrate(_network(settings, "model"), **settings).path}


def _qat(settings: Settings) -> Artifacts:
    """Trains under fake quantization; made are the trained float network and its ranges."""
    from jetseg.workflows.qat import quantization_aware_train

    network, ranges = _network(settings, "parent"), settings.pop("calibration", None)
    result = quantization_aware_train(network, ranges=ranges, **accept_old_names(settings, RENAMED_IN_QAT))
    return {"onnx": result.float_twin.path, "ranges": result.ranges.path}


def _build(settings: Settings) -> Artifacts:
    from jetseg.workflows.building import build_engine

    return {
        "engine": build_engine(_network(settings, "model"), ranges=settings.pop("calibration", None), **settings).path
    }


def _network(settings: Settings, key: str) -> Network:
    """Takes the network that a stage works on out of its settings, and opens it."""
    return open_network(settings.pop(key), settings.pop("manifest", None))


_TRAINING = ("jetseg.training.loop",)
_LEARNING: Mapping[str, Labels] = {"split": "needed", "eval_split": "needed"}
KINDS: dict[str, Kind] = {
    "train": Kind(_train, {}, out="", models=(TrainConfig,), needs=_TRAINING, watches=_LEARNING),
    "fine-tune": Kind(
        _train, {"checkpoint": "init"}, out="", models=(TrainConfig,), needs=_TRAINING, watches=_LEARNING
    ),
    "prune": Kind(
        _prune,
        {"checkpoint": "checkpoint"},
        out="pruned.safetensors",
        models=(PruneConfig, FineTuneConfig),
        needs=("jetseg.compress.prune",),
        inputs=("steps",),
    ),
    "factorize": Kind(
        _factorize,
        {"checkpoint": "checkpoint"},
        out="factorized.safetensors",
        uses_data=False,
        models=(FactorizeConfig, FineTuneConfig),
        needs=("jetseg.compress.factorize",),
    ),
    "resize": Kind(
        _resize,
        {"checkpoint": "checkpoint"},
        out="resized.safetensors",
        uses_data=False,
        models=(ResizeConfig,),
        needs=("jetseg.models",),
    ),
    "export": Kind(
        _export,
        {"checkpoint": "checkpoint"},
        out="network.onnx",
        uses_data=False,
        models=(ExportConfig,),
        needs=("jetseg.exporters.onnx_export",),
    ),
    "calibrate": Kind(
        _calibrate,
        {"onnx": "model"},
        out="network.ranges.json",
        models=(CalibrateConfig,),
        inputs=("cache", "manifest"),
    ),
    "qat": Kind(
        _qat,
        {"onnx": "parent", "ranges": "calibration"},
        out="network.qdq.onnx",
        models=(QatConfig, StartRanges),
        needs=("jetseg.compress.qat.training",),
        watches=_LEARNING,
        inputs=("manifest",),
    ),
    "build-engine": Kind(
        _build,
        {"onnx": "model", "ranges": "calibration"},
        out="network.engine.onnx",
        models=(BuildConfig,),
        watches={"eval_split": "optional"},
        inputs=("report", "manifest"),
    ),
}

RENAMED = {"quantize": "qat"}
"""Old names of kinds, which are read until the next release but one."""
