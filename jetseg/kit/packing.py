"""Packs a network for a vehicle."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from pydantic import BaseModel, ConfigDict, Field

import jetseg
from jetseg.config import changed
from jetseg.data.contract import Sample
from jetseg.data.dataset import open_split
from jetseg.engine.backend import Segmenter
from jetseg.engine.opening import open_runner
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.errors import ConfigError, QualityError
from jetseg.evaluate.accuracy import check_classes, spread
from jetseg.kit.archive import write_kit
from jetseg.kit.contents import CACHES, EXPECTED, FRAMES, IMAGES, LABELS, README, KitIndex, Tolerance
from jetseg.kit.instructions import instructions
from jetseg.kit.reference import Comparison, compare
from jetseg.manifest import Manifest, manifest_path, write_manifest
from jetseg.network import load_manifest
from jetseg.onnx.file import has_external_data
from jetseg.postprocess import ClassMap
from jetseg.quantization.ranges import calibrated_network, load_ranges, save_ranges
from jetseg.quantization.render import write_cache, write_qdq
from jetseg.storage import sha256_file, write_bytes, write_text
from jetseg.targets import find_target

DEFAULT_FRAMES = 6
CACHE_VERSIONS = ("10.3.0", "10.13.3", "10.16.2")
"""TensorRT versions of JetPack that have calibrators; each trusts only a cache with its own number."""


class PackConfig(BaseModel):
    """Settings of `run`.

    Attributes:
        model: Float ONNX file, weights inside.
        data: Dataset spec to take the reference frames from.
        out: The kit.
        split: Split of the dataset.
        frames: How many frames, spread evenly over the split.
        calibration: Ranges file; without it the kit builds float engines only.
        target: Computer that it is for; see `jetseg.targets`.
        tolerance: What an engine may lose on the reference frames.
        manifest: Manifest elsewhere than beside the model.
        threads: Threads of ONNX Runtime.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    data: str
    out: Path
    split: str = "val"
    frames: int = Field(default=DEFAULT_FRAMES, gt=0)
    calibration: Path | None = None
    target: str | None = None
    tolerance: Tolerance = Tolerance()
    manifest: Path | None = None
    threads: int | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class PackResult:
    """What `run` made.

    Attributes:
        kit: The file.
        index: Its index.
        simulated: How the exact simulation of TensorRT's INT8 did on the frames; None without ranges.
    """

    kit: Path
    index: KitIndex
    simulated: Comparison | None


def run(config: PackConfig) -> PackResult:
    """Packs a kit: the network, what calibration found, and frames with the float network's class maps.

    With a ranges file, TensorRT's INT8 is simulated on the frames first: a kit that no vehicle could verify is not
    written.

    Raises:
        QualityError: The simulated INT8 network loses more than the tolerance.
        JetsegError: The network, ranges or data are wrong.
    """
    if config.target is not None:
        find_target(config.target)
    manifest = load_manifest(config.model, config.manifest)
    if manifest.kind != "onnx" or manifest.precision != "fp32":
        raise ConfigError(f"{config.model} is no float ONNX file.", "Pack the network that engines are built from.")
    if has_external_data(config.model):
        raise ConfigError(f"{config.model} has weights in other files.", "Export it with its weights inside.")
    with tempfile.TemporaryDirectory(prefix="jetseg-pack-") as name:
        folder = Path(name)
        model, ranges = _stage_network(config, manifest, folder)
        samples = _reference_samples(config, manifest)
        expected = _expected(model, samples, config.threads)
        _stage_frames(manifest, samples, expected, folder)
        qdq, simulated = None, None
        if ranges is not None:
            qdq = folder / f"{model.stem}.qdq.onnx"
            write_qdq(model, ranges, qdq)
            for version in CACHE_VERSIONS:
                write_cache(model, ranges, folder / CACHES / f"{version}.cache", version)
            simulated = _simulate(config, model, ranges, folder, expected)
        index = KitIndex(
            jetseg=jetseg.__version__,
            model=model.name,
            ranges=ranges.name if ranges else None,
            qdq=qdq.name if qdq else None,
            target=config.target,
            frames=tuple(_stem(position) for position in range(len(samples))),
            labelled=samples[0].label_hw_u8 is not None,
            tolerance=config.tolerance,
            simulated_agreement=round(simulated.agreement, 3) if simulated else None,
            members={},
        )
        write_text(folder / README, instructions(index, config.out.name))
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return PackResult(config.out, write_kit(config.out, index, files), simulated)


def _stage_network(config: PackConfig, manifest: Manifest, folder: Path) -> tuple[Path, Path | None]:
    """Copies the network with a manifest, and the ranges with their corrected networks under names of the kit's own."""
    model = folder / "network.onnx"
    shutil.copyfile(config.model, model)
    sha256 = sha256_file(model)
    write_manifest(manifest_path(model), manifest.changed(sha256=sha256))
    if config.calibration is None:
        return model, None
    ranges = load_ranges(config.calibration, model_sha256=sha256, preprocessing=manifest.input)
    networks = {}
    for backend, network in ranges.networks.items():
        corrected = folder / f"network.{backend}.onnx"
        shutil.copyfile(calibrated_network(config.calibration, ranges, backend, config.model), corrected)
        networks[backend] = changed(network, file=corrected.name)
    copy = folder / "network.ranges.json"
    save_ranges(copy, changed(ranges, networks=networks))
    return model, copy


def _reference_samples(config: PackConfig, manifest: Manifest) -> list[Sample]:
    dataset = open_split(config.data, config.split)
    samples = [dataset[index] for index in spread(len(dataset), config.frames)]
    labelled = [sample.label_hw_u8 is not None for sample in samples]
    if any(labelled):
        check_classes(manifest.classes, dataset.classes, config.data)
        if dataset.ignore_index != manifest.ignore_index:
            raise ConfigError(
                f"{config.data} ignores the label id {dataset.ignore_index}, the network's manifest "
                f"{manifest.ignore_index}.",
                "Correct `ignore_index` in the manifest.",
            )
    return samples


def _expected(model: Path, samples: Sequence[Sample], threads: int | None) -> list[ClassMap]:
    runner = open_runner(model, threads=threads)
    try:
        segment = Segmenter(runner)
        return [segment(sample.image_hwc_u8).copy() for sample in samples]
    finally:
        runner.close()


def _stage_frames(manifest: Manifest, samples: Sequence[Sample], expected: Sequence[ClassMap], folder: Path) -> None:
    """Writes the frames as a `folder:` dataset, with the expected class maps beside it."""
    head = {"classes": list(manifest.classes), "ignore_index": manifest.ignore_index}
    write_text(folder / FRAMES / "classes.yaml", json.dumps(head) + "\n")
    for position, (sample, ids) in enumerate(zip(samples, expected, strict=True)):
        pictures = {IMAGES: sample.image_hwc_u8, EXPECTED: ids, LABELS: sample.label_hw_u8}
        for place, picture in pictures.items():
            if picture is not None:
                write_bytes(folder / place / f"{_stem(position)}.png", cv2.imencode(".png", picture)[1].tobytes())


def _simulate(config: PackConfig, model: Path, ranges: Path, folder: Path, expected: Sequence[ClassMap]) -> Comparison:
    runner = simulate_tensorrt(model, ranges, threads=config.threads)
    try:
        frames = open_split(f"folder:{folder / FRAMES}", "all")
        result = compare(
            Segmenter(runner), runner.manifest, frames, expected, config.tolerance, "Simulating TensorRT's INT8"
        )
    finally:
        runner.close()
    if result.broken:
        raise QualityError(
            f"INT8 loses too much on these frames, so no vehicle could verify the kit: {'; '.join(result.broken)}.",
            "Calibrate better (see `jetseg calibrate --help`), or allow more with --min-agreement, --max-drop and "
            "--max-class-drop.",
        )
    return result


def _stem(position: int) -> str:
    return f"{position:03}"
