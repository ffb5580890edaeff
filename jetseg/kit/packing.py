"""Packs a network for a vehicle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

import jetseg
from jetseg.artifact_file import new_artifact
from jetseg.config import changed
from jetseg.data.contract import Sample
from jetseg.data.dataset import Dataset, open_split
from jetseg.engine.engine import open_engine
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.errors import ConfigError, QualityError
from jetseg.evaluation.accuracy import check_classes, spread
from jetseg.kit.archive import write_kit
from jetseg.kit.config import PackConfig
from jetseg.kit.contents import CACHES, EXPECTED, FRAMES, IMAGES, LABELS, README, KitIndex
from jetseg.kit.instructions import instructions
from jetseg.kit.opening import check_packable
from jetseg.kit.reference import KitComparison, compare_with_kit
from jetseg.manifest import Manifest
from jetseg.network import Network, open_network
from jetseg.postprocess import ClassMap
from jetseg.quantization.ranges import Ranges, save_ranges
from jetseg.quantization.render import write_cache, write_qdq
from jetseg.storage import check_place, scratch_folder, write_bytes, write_text, writing
from jetseg.targets import find_target

CACHE_VERSIONS = ("10.3.0", "10.13.3", "10.16.2")
"""TensorRT versions of JetPack that have calibrators; each trusts only a cache with its own number."""


@dataclass(frozen=True)
class PackResult:
    """What packing made.

    Attributes:
        kit: The file.
        index: Its index.
        simulated: How the exact simulation of TensorRT's INT8 did on the frames; None without ranges.
    """

    kit: Path
    index: KitIndex
    simulated: KitComparison | None


def pack(network: Network, ranges: Ranges | None, dataset: Dataset, config: PackConfig, out: Path) -> PackResult:
    """Packs a kit: the network, what calibration found, and frames with the float network's class maps.

    With ranges, TensorRT's INT8 is simulated on the frames first: a kit that no vehicle could verify is not written.

    Args:
        network: Float ONNX file, weights inside.
        ranges: Its ranges; without them the kit builds float engines only.
        dataset: Where the reference frames come from.
        config: Which frames, and what an engine may lose on them.
        out: The kit.

    Raises:
        QualityError: The simulated INT8 network loses more than the tolerance.
        JetsegError: The network or the data are wrong.
    """
    _check(network, config)
    check_place(out)
    with writing(out), scratch_folder("jetseg-pack-") as folder:
        packed, known = _stage_network(network, ranges, folder)
        samples = _reference_samples(dataset, config, packed.manifest)
        expected = _expected(packed, samples, config.threads)
        _stage_frames(packed.manifest, samples, expected, folder)
        qdq, simulated = None, None
        if known is not None:
            qdq = write_qdq(known, folder / f"{packed.name}.qdq.onnx")
            for version in CACHE_VERSIONS:
                write_cache(known, folder / CACHES / f"{version}.cache", version)
            simulated = _simulate(known, config, folder, expected)
        index = KitIndex(
            jetseg=jetseg.__version__,
            model=packed.path.name,
            ranges=known.path.name if known else None,
            qdq=qdq.path.name if qdq else None,
            target=config.target,
            frames=tuple(_stem(position) for position in range(len(samples))),
            labelled=_labelled(samples),
            tolerance=config.tolerance,
            simulated_agreement=round(simulated.agreement, 3) if simulated else None,
            members={},
        )
        write_text(folder / README, instructions(index, out.name))
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return PackResult(out, write_kit(out, index, files), simulated)


def _check(network: Network, config: PackConfig) -> None:
    if config.target is not None:
        find_target(config.target)
    check_packable(network)


def _stage_network(network: Network, ranges: Ranges | None, folder: Path) -> tuple[Network, Ranges | None]:
    """Copies the network with a manifest, and the ranges with their corrected networks under names of the kit's own."""
    model = folder / "network.onnx"
    with new_artifact(model) as draft:
        shutil.copyfile(network.path, draft.path)
        draft.manifest = network.manifest.changed(sha256=network.sha256)
    copy = open_network(model)
    if ranges is None:
        return copy, None
    networks = {}
    for backend, entry in ranges.record.networks.items():
        corrected = folder / f"network.{backend}.onnx"
        shutil.copyfile(ranges.network_for(backend).path, corrected)
        networks[backend] = changed(entry, file=corrected.name)
    return copy, save_ranges(folder / "network.ranges.json", copy, changed(ranges.record, networks=networks))


def _reference_samples(dataset: Dataset, config: PackConfig, manifest: Manifest) -> list[Sample]:
    split = dataset.split(config.split)
    samples = [split[index] for index in spread(len(split), config.frames)]
    if _labelled(samples):
        check_classes(manifest.classes, split.classes, dataset.spec)
        if split.ignore_index != manifest.ignore_index:
            raise ConfigError(
                f"{dataset.spec} ignores the label id {split.ignore_index}, the network's manifest "
                f"{manifest.ignore_index}.",
                "Correct `ignore_index` in the manifest.",
            )
    return samples


def _labelled(samples: Sequence[Sample]) -> bool:
    return all(sample.label_hw_u8 is not None for sample in samples)


def _expected(network: Network, samples: Sequence[Sample], threads: int | None) -> list[ClassMap]:
    with open_engine(network, threads=threads) as engine:
        return [engine.segment(sample.image_hwc_u8).copy() for sample in samples]


def _stage_frames(manifest: Manifest, samples: Sequence[Sample], expected: Sequence[ClassMap], folder: Path) -> None:
    """Writes the frames as a `folder:` dataset, with the expected class maps beside it."""
    head = {"classes": list(manifest.classes), "ignore_index": manifest.ignore_index}
    write_text(folder / FRAMES / "classes.yaml", json.dumps(head) + "\n")
    labelled = _labelled(samples)
    for position, (sample, ids) in enumerate(zip(samples, expected, strict=True)):
        pictures = {IMAGES: sample.image_hwc_u8, EXPECTED: ids, LABELS: sample.label_hw_u8 if labelled else None}
        for place, picture in pictures.items():
            if picture is not None:
                write_bytes(folder / place / f"{_stem(position)}.png", cv2.imencode(".png", picture)[1].tobytes())


def _simulate(ranges: Ranges, config: PackConfig, folder: Path, expected: Sequence[ClassMap]) -> KitComparison:
    frames = open_split(f"folder:{folder / FRAMES}", "all")
    with simulate_tensorrt(ranges, threads=config.threads) as engine:
        result = compare_with_kit(engine, frames, expected, config.tolerance, "Simulating TensorRT's INT8")
    if result.violations:
        raise QualityError(
            f"INT8 loses too much on these frames, so no vehicle could verify the kit: {'; '.join(result.violations)}.",
            "Calibrate better (see `jetseg calibrate --help`), or allow more with `min_agreement`, `max_drop` and "
            "`max_class_drop`.",
        )
    return result


def _stem(position: int) -> str:
    return f"{position:03}"
