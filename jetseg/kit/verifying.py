"""Builds or opens an engine on this machine and proves it on a kit's reference frames."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jetseg.data.dataset import open_split
from jetseg.data.decode import LabelCode, read_label
from jetseg.engine.backend import Segmenter
from jetseg.engine.build import move_engine
from jetseg.engine.build import run as build
from jetseg.engine.build_config import BuildConfig
from jetseg.engine.opening import DEFAULT_BACKEND, backend_module, open_runner
from jetseg.errors import ArtifactError, ConfigError
from jetseg.kit.archive import unpack_kit
from jetseg.kit.contents import EXPECTED, FRAMES, IMAGES, KitIndex
from jetseg.kit.opening import kit_name
from jetseg.kit.reference import Comparison, compare
from jetseg.manifest import Manifest, Parity, Precision
from jetseg.network import load_manifest, save_manifest
from jetseg.postprocess import ClassMap


class VerifyConfig(BaseModel):
    """Settings of `run`.

    Attributes:
        kit: The kit.
        engine: An engine that was built from the kit's network; without it one is built.
        backend: Runtime to build for.
        precision: Precision to build; by default int8 where the kit has ranges, else fp32.
        options: Settings of the backend to build with.
        out: Where the built engine goes once it has passed; by default engines/KIT.PRECISION....
        threads: Threads of a CPU backend.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kit: Path
    engine: Path | None = None
    backend: str = DEFAULT_BACKEND
    precision: Precision | None = None
    options: dict[str, str] = Field(default_factory=dict)
    out: Path | None = None
    threads: int | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class VerifyResult:
    """What `run` found.

    Attributes:
        engine: The engine; `NAME.unverified...` if it was built here and did not pass.
        manifest: Its manifest.
        index: The kit's index.
        comparison: What the reference frames showed; `broken` says whether it passed.
    """

    engine: Path
    manifest: Manifest
    index: KitIndex
    comparison: Comparison


def run(config: VerifyConfig) -> VerifyResult:
    """Verifies an engine against a kit.

    A built engine gets to its place only if it passes; an earlier engine there stays whole until then.

    Raises:
        ArtifactError: The kit is damaged, or the engine is of another network.
        JetsegError: The backend's library is missing, or the engine cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="jetseg-kit-") as name:
        folder = Path(name)
        index = unpack_kit(config.kit, folder)
        parent = load_manifest(folder / index.model)
        expected = _expected(config.kit, index, parent, folder)
        if config.engine is not None:
            _check_parent(config.engine, parent)
            comparison, manifest = _compare(config.engine, index, expected, folder, config.threads)
            return VerifyResult(config.engine, manifest, index, comparison)
        place, built = _build(config, index, folder)
        comparison, manifest = _compare(built, index, expected, folder, config.threads)
    if comparison.broken:
        return VerifyResult(built, manifest, index, comparison)
    parity = Parity(frames=comparison.frames, argmax_agreement=round(comparison.agreement / 100, 5))
    accuracy = (comparison.after,) if comparison.after else ()
    proven = manifest.changed(parity=parity, accuracy=accuracy)
    manifest = save_manifest(built, proven, device=manifest.device, versions=manifest.toolchain)
    move_engine(built, place)
    return VerifyResult(place, manifest, index, comparison)


def _build(config: VerifyConfig, index: KitIndex, folder: Path) -> tuple[Path, Path]:
    """Builds the engine aside; returns its place and where it lies until it has passed."""
    suffix = backend_module(config.backend, "build").ENGINE_SUFFIX
    precision: Precision = config.precision or ("int8" if index.ranges else "fp32")
    if precision == "int8" and index.ranges is None:
        raise ConfigError(
            f"{config.kit} has no ranges, so no int8 engine can be built from it.", "Pack it with --calibration."
        )
    place = config.out or Path("engines") / f"{kit_name(config.kit)}.{precision}{suffix}"
    aside = place.with_name(f"{place.name.removesuffix(suffix)}.unverified{suffix}")
    build(
        BuildConfig(
            model=folder / index.model,
            calibration=folder / index.ranges if index.ranges and precision == "int8" else None,
            precision=precision,
            backend=config.backend,
            out=aside,
            threads=config.threads,
            options=config.options,
        )
    )
    return place, aside


def _compare(
    engine: Path, index: KitIndex, expected: list[ClassMap], folder: Path, threads: int | None
) -> tuple[Comparison, Manifest]:
    frames = open_split(f"folder:{folder / FRAMES}", "all")
    runner = open_runner(engine, threads=threads)
    try:
        found = compare(Segmenter(runner), runner.manifest, frames, expected, index.tolerance, "Verifying the engine")
        return found, runner.manifest
    finally:
        runner.close()


def _check_parent(engine: Path, parent: Manifest) -> None:
    manifest = load_manifest(engine)
    if parent.sha256 not in (manifest.parent_sha256, manifest.sha256):
        raise ArtifactError(
            f"{engine} was not built from the network in the kit: the SHA-256 of its parent differs.",
            "Leave --engine out, so that it is built from the kit.",
        )


def _expected(kit: Path, index: KitIndex, parent: Manifest, folder: Path) -> list[ClassMap]:
    code = LabelCode(parent.num_classes, parent.num_classes)
    paths = [f"{EXPECTED}/{name}.png" for name in index.frames]
    missing = [path for path in paths if path not in index.members]
    images = sum(name.startswith(f"{IMAGES}/") for name in index.members)
    if missing or images != len(paths):
        raise ArtifactError(
            f"{kit} holds {images} reference frames and {len(paths) - len(missing)} of {len(paths)} class maps.",
            "Pack it anew.",
        )
    return [read_label(folder / path, code) for path in paths]
