"""The build stage: float ONNX file in, engine with its measured accuracy out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jetseg.calibrate.calibration import DEFAULT_IMAGES, DEFAULT_METHOD, CalibrateConfig
from jetseg.calibrate.calibration import run as calibrate
from jetseg.calibrate.ranges import Ranges, calibrated_network, load_ranges
from jetseg.calibrate.thresholds import Method
from jetseg.data.contract import SegmentationDataset
from jetseg.data.specs import open_dataset
from jetseg.engine.contract import BuildReport, Segmenter
from jetseg.engine.opening import DEFAULT_BACKEND, backend_module, open_runner
from jetseg.errors import ConfigError
from jetseg.evaluate.accuracy import as_record, measure_accuracy
from jetseg.manifest import Accuracy, Manifest, Precision, Stage, load_manifest, save_manifest
from jetseg.storage import atomic_path, sha256_file


class BuildConfig(BaseModel):
    """Settings of `run`.

    Attributes:
        model: Float ONNX file.
        precision: Precision of the engine.
        backend: Runtime that the engine is for; see `jetseg.engine.opening.backend_names`.
        out: Engine file; by default in engines/, named after the model and the precision.
        calibration: Ranges file; without it, int8 calibrates on `data` and keeps the ranges beside the engine.
        data: Dataset spec for calibration and for measuring accuracy.
        split: Split to calibrate on.
        images: How many images to calibrate on.
        method: Calibration method.
        eval_split: Split to measure accuracy on, before and after.
        eval_frames: Measure on this many frames only.
        manifest: Manifest elsewhere than beside the model.
        threads: Threads of a CPU backend while measuring.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    precision: Precision = "int8"
    backend: str = DEFAULT_BACKEND
    out: Path | None = None
    calibration: Path | None = None
    data: str | None = None
    split: str = "train"
    images: int = Field(default=DEFAULT_IMAGES, gt=0)
    method: Method = DEFAULT_METHOD
    eval_split: str = "val"
    eval_frames: int | None = Field(default=None, gt=0)
    manifest: Path | None = None
    threads: int | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class BuildResult:
    """What `run` made.

    Attributes:
        engine: The engine file.
        manifest: Its manifest.
        report: Which layers run in which precision.
        parent_accuracy: Accuracy of the float network; None without labelled data.
        accuracy: Accuracy of the engine on the same frames.
    """

    engine: Path
    manifest: Manifest
    report: BuildReport
    parent_accuracy: Accuracy | None
    accuracy: Accuracy | None


def run(config: BuildConfig) -> BuildResult:
    """Builds an engine, opens it again, and measures it against the float network if there are labels.

    Raises:
        JetsegError: The network, ranges or data are wrong, or the backend's library is missing; an earlier
            engine at the same place stays whole.
    """
    backend = backend_module(config.backend, "build")
    parent = load_manifest(config.model, config.manifest)
    engine = config.out or Path("engines") / f"{config.model.stem}.{config.precision}{backend.ENGINE_SUFFIX}"
    if engine.resolve() == config.model.resolve():
        raise ConfigError(f"{engine} is the network itself.", "Give another --out.")
    ranges_file = _ranges_file(config, engine)
    ranges = _load_ranges(config, ranges_file, parent) if ranges_file else None
    network = config.model
    if ranges and ranges_file:
        network = calibrated_network(ranges_file, ranges, config.backend, config.model)
    with atomic_path(engine) as temporary:
        report = backend.build(network, parent, config.precision, ranges, temporary)
    manifest = save_manifest(engine, _manifest(config, parent, ranges, ranges_file))
    if config.data is None:
        open_runner(engine, threads=config.threads).close()
        return BuildResult(engine, manifest, report, None, None)
    dataset = open_dataset(config.data, config.eval_split)
    before = _measure(config.model, config, dataset, "Float network", config.manifest)
    after = _measure(engine, config, dataset, f"{config.precision} engine", None)
    manifest = save_manifest(engine, manifest.model_copy(update={"accuracy": (after,)}))
    return BuildResult(engine, manifest, report, before, after)


def _ranges_file(config: BuildConfig, engine: Path) -> Path | None:
    """Returns the ranges file to use, calibrating first if none was given."""
    if config.precision != "int8" or config.calibration is not None:
        return config.calibration if config.precision == "int8" else None
    if config.data is None:
        raise ConfigError(
            "An int8 engine needs ranges.", "Give --calibration FILE, or --data SPEC to calibrate on now."
        )
    ranges_file = engine.with_name(f"{engine.name}.ranges.json")
    calibrate(
        CalibrateConfig(
            model=config.model,
            data=config.data,
            split=config.split,
            images=config.images,
            method=config.method,
            out=ranges_file,
            manifest=config.manifest,
            threads=config.threads,
        )
    )
    return ranges_file


def _load_ranges(config: BuildConfig, ranges_file: Path, parent: Manifest) -> Ranges:
    return load_ranges(ranges_file, model_sha256=sha256_file(config.model), preprocessing=parent.input)


def _manifest(config: BuildConfig, parent: Manifest, ranges: Ranges | None, ranges_file: Path | None) -> Manifest:
    settings: dict[str, object] = {"precision": config.precision, "backend": config.backend}
    if ranges is not None:
        settings |= {"method": ranges.method, "frames": ranges.frames, "data": ranges.data}
    return parent.model_copy(
        update={
            "kind": "engine",
            "backend": config.backend,
            "precision": config.precision,
            "parent_sha256": sha256_file(config.model),
            "calibration_sha256": sha256_file(ranges_file) if ranges_file else None,
            "parity": None,
            "accuracy": (),
            "stages": (*parent.stages, Stage(name="build-engine", settings=settings)),
        }
    )


def _measure(
    path: Path, config: BuildConfig, dataset: SegmentationDataset, name: str, manifest_file: Path | None
) -> Accuracy:
    runner = open_runner(path, manifest_file=manifest_file, threads=config.threads)
    try:
        score = measure_accuracy(
            Segmenter(runner),
            runner.manifest,
            dataset,
            frames=config.eval_frames,
            description=f"Measuring the {name}",
        )
    finally:
        runner.close()
    return as_record(score, dataset)
