"""The build stage: float ONNX file in, engine with its measured accuracy out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from jetseg.data.contract import SegmentationDataset
from jetseg.data.specs import open_dataset
from jetseg.engine.accuracy_gate import budget_of, judge, open_parent
from jetseg.engine.budget import check_classes_of
from jetseg.engine.build_config import BuildConfig, BuildResult, EngineRejectedError
from jetseg.engine.contract import BuildRequest, Segmenter
from jetseg.engine.float_cost import time_in_float
from jetseg.engine.opening import backend_module, open_runner
from jetseg.engine.retries import MOST_FLOAT_LAYERS, attempts, ranges_beside
from jetseg.errors import ConfigError, DataError
from jetseg.evaluate.accuracy import spread
from jetseg.evaluate.profile import measure_profile
from jetseg.manifest import Accuracy, Manifest, Stage, load_manifest, manifest_path, save_manifest, validate_config
from jetseg.onnx.float_graph import load_float_graph
from jetseg.preprocess import Preprocessor
from jetseg.quantization.arithmetic import ARITHMETICS, Arithmetic
from jetseg.quantization.calibration import CalibrateConfig, Target, image_input
from jetseg.quantization.calibration import run as calibrate
from jetseg.quantization.ranges import Ranges, calibrated_network, load_ranges
from jetseg.quantization.sensitivity import LayerEffect, layer_sensitivity
from jetseg.storage import atomic_path, sha256_file

_BLAME_FRAMES = 4


def run(config: BuildConfig, *, before: Accuracy | None = None) -> BuildResult:
    """Builds an engine, opens it again, and measures it against the float network if there are data.

    Without labels the pixels that keep the float network's class are counted.

    An engine that loses more than its budget does not get to its place: it is kept beside it as
    `NAME.rejected...`, for study. An earlier engine at the place stays whole.

    Args:
        config: What is built.
        before: Accuracy of the float network on these frames, where it was measured already.

    Raises:
        EngineRejectedError: The engine lost too much; `result` tells what, and which layers are to blame.
        JetsegError: The network, ranges or data are wrong, or the backend's library is missing.
    """
    backend = backend_module(config.backend, "build")
    options: BaseModel = validate_config(backend.Options, dict(config.options))
    backend.check(config.precision, options)
    if config.keep_float and config.precision != "int8":
        raise ConfigError(f"--keep-float is for int8, and this is {config.precision}.", "Leave it out.")
    parent = load_manifest(config.model, config.manifest)
    check_classes_of(budget_of(config), parent.classes)
    if config.auto and config.data is None:
        raise ConfigError("--auto needs data to judge by.", "Give --data SPEC.")
    engine = config.out or Path("engines") / f"{config.model.stem}.{config.precision}{backend.ENGINE_SUFFIX}"
    if engine.resolve() == config.model.resolve():
        raise ConfigError(f"{engine} is the network itself.", "Give another --out.")
    tried: list[str] = []
    for attempt in attempts(config, engine):
        result = _build(attempt.config, engine, backend, options, parent, before)
        before = result.parent_accuracy
        tried.append(f"{attempt.name}: {'; '.join(result.broken) or 'passed'}")
        result = replace(result, attempts=tuple(tried))
        if not result.broken:
            result = _with_profile(attempt.config, result)
            move_engine(result.engine, engine)
            return replace(result, engine=engine)
        attempt.failed(result)
    raise EngineRejectedError(result)


def _build(
    config: BuildConfig,
    engine: Path,
    backend: ModuleType,
    options: BaseModel,
    parent: Manifest,
    before: Accuracy | None,
) -> BuildResult:
    """Builds one engine aside, as rejected until it has passed."""
    aside = engine.with_name(f"{engine.name.removesuffix(backend.ENGINE_SUFFIX)}.rejected{backend.ENGINE_SUFFIX}")
    ranges_file = _ranges_file(config, engine, backend.ARITHMETIC)
    ranges = _load_ranges(config, ranges_file, parent) if ranges_file else None
    network = config.model
    if ranges and ranges_file:
        network = calibrated_network(ranges_file, ranges, backend.ARITHMETIC, config.model)
    with atomic_path(aside) as temporary:
        report = backend.build(
            BuildRequest(network, parent, config.precision, ranges, temporary, frozenset(config.keep_float), options)
        )
    manifest = _manifest(config, parent, ranges, ranges_file)
    manifest = save_manifest(aside, manifest, device=report.device, versions=report.toolchain)
    if config.data is None:
        if report.not_run_here is None:
            open_runner(aside, threads=config.threads).close()
        return BuildResult(aside, manifest, report, None, None)
    dataset = open_dataset(config.data, config.eval_split)
    found = judge(config, aside, report, ranges_file, dataset, before)
    if found.after:
        manifest = manifest.model_copy(update={"accuracy": (found.after,)})
        manifest = save_manifest(aside, manifest, device=report.device, versions=report.toolchain)
    guilty: tuple[LayerEffect, ...] = ()
    if (found.broken or (config.sensitivity and found.measured)) and ranges is not None:
        arithmetic = ARITHMETICS[backend.ARITHMETIC]
        guilty = tuple(_blame(config, arithmetic, network, parent, ranges, dataset))
        if report.not_run_here is None:
            worst, others = guilty[:MOST_FLOAT_LAYERS], guilty[MOST_FLOAT_LAYERS:]
            guilty = (*time_in_float(worst, config.backend, config.threads or 1), *others)
    return BuildResult(
        aside, manifest, report, found.before, found.after, found.broken, guilty, agreement=found.agreement
    )


def _with_profile(config: BuildConfig, result: BuildResult) -> BuildResult:
    """Adds what a vehicle without labels compares its frames with; where the engine cannot run, its parent is asked."""
    if config.data is None:
        return result
    try:
        dataset = open_dataset(config.data, config.split)
    except DataError:  # with a given ranges file the data need not have the calibration split
        dataset = open_dataset(config.data, config.eval_split)
    parent = open_parent(config)
    engine = parent if result.report.not_run_here else open_runner(result.engine, threads=config.threads)
    try:
        reference = None if engine is parent else Segmenter(parent)
        profile = measure_profile(engine.infer, result.manifest, dataset, frames=config.images, parent=reference)
    finally:
        engine.close()
        parent.close()
    manifest = result.manifest.model_copy(update={"profile": profile})
    report = result.report
    manifest = save_manifest(result.engine, manifest, device=report.device, versions=report.toolchain)
    return replace(result, manifest=manifest)


def _blame(
    config: BuildConfig,
    arithmetic: Arithmetic,
    network: Path,
    parent: Manifest,
    ranges: Ranges,
    dataset: SegmentationDataset,
) -> list[LayerEffect]:
    """Returns the quantized layers, the most harmful first."""
    graph = load_float_graph(network)
    preprocess = Preprocessor(parent.input)
    name = image_input(graph, parent, network)
    indices = spread(len(dataset), _BLAME_FRAMES)
    feeds = [{name: preprocess(dataset[index].image_hwc_u8).copy()} for index in indices]
    return layer_sensitivity(graph, parent, arithmetic, ranges.placement, ranges.tensors, feeds, config.threads)


def move_engine(source: Path, target: Path) -> None:
    """Moves an engine and its manifest to their place; until both are there, the hash check refuses the pair."""
    source.replace(target)
    manifest_path(source).replace(manifest_path(target))


def _ranges_file(config: BuildConfig, engine: Path, target: Target) -> Path | None:
    """Returns the ranges file to use, calibrating first if none was given."""
    if config.precision != "int8" or config.calibration is not None:
        return config.calibration if config.precision == "int8" else None
    if config.data is None:
        raise ConfigError(
            "An int8 engine needs ranges.", "Give --calibration FILE, or --data SPEC to calibrate on now."
        )
    ranges_file = ranges_beside(engine, config)
    calibrate(
        CalibrateConfig(
            model=config.model,
            data=config.data,
            split=config.split,
            images=config.images,
            method=config.method,
            preset=config.preset,
            targets=(target,),
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
    if config.options:
        settings["options"] = dict(config.options)
    if config.keep_float:
        settings["keep_float"] = list(config.keep_float)
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
            "profile": None,
            "stages": (*parent.stages, Stage(name="build-engine", settings=settings)),
        }
    )
