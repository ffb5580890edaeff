"""Builds or opens an engine on this machine and proves it on a kit's reference frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetseg.artifact_file import move_artifact, rewrite_manifest
from jetseg.config import validate_config
from jetseg.engine.backend import find_backend
from jetseg.engine.build import build_engine, engine_path
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.errors import ArtifactError, ConfigError
from jetseg.kit.config import VerifyConfig
from jetseg.kit.contents import KitIndex
from jetseg.kit.opening import Kit
from jetseg.kit.reference import KitComparison, compare_with_kit
from jetseg.manifest import EnginePrecision, Manifest
from jetseg.measured import Parity
from jetseg.network import Network, open_network
from jetseg.storage import writing


@dataclass(frozen=True)
class VerifyResult:
    """What verifying found.

    Attributes:
        engine: The engine; `NAME.unverified...` if it was built here and did not pass.
        manifest: Its manifest.
        index: The kit's index.
        comparison: What the reference frames showed; `violations` says whether it passed.
    """

    engine: Path
    manifest: Manifest
    index: KitIndex
    comparison: KitComparison


def verify(kit: Kit, config: VerifyConfig, *, engine: Network | None = None, out: Path | None = None) -> VerifyResult:
    """Verifies an engine against a kit.

    A built engine gets to its place only if it passes; an earlier engine there stays whole until then.

    Args:
        kit: The kit, open.
        config: What to build.
        engine: An engine that was built from the kit's network; without it one is built.
        out: Where the built engine goes once it has passed; by default engines/KIT.PRECISION....

    Raises:
        ArtifactError: The kit is damaged, or the engine is of another network.
        JetsegError: The backend's library is missing, or the engine cannot be built.
    """
    if engine is not None:
        _check_parent(engine, kit)
        return VerifyResult(engine.path, engine.manifest, kit.index, _compare(engine, kit, config))
    place = _place(kit, config, out)
    with writing(place):
        return _verify_new(kit, config, place)


def engine_name(kit: Kit, config: VerifyConfig) -> str:
    """Returns what an engine of a kit is called: KIT.PRECISION.SUFFIX."""
    return f"{kit.network.name}.{_precision(kit, config)}{find_backend(config.backend).suffix}"


def _verify_new(kit: Kit, config: VerifyConfig, place: Path) -> VerifyResult:
    built = _build(kit, config, place)
    comparison = _compare(built, kit, config)
    if comparison.violations:
        return VerifyResult(built.path, built.manifest, kit.index, comparison)
    parity = Parity(frames=comparison.frames, argmax_agreement=round(comparison.agreement / 100, 5))
    accuracy = (comparison.after,) if comparison.after else ()
    proven = built.manifest.changed(parity=parity, accuracy=accuracy)
    rewrite_manifest(built, proven)
    move_artifact(built.path, place)
    return VerifyResult(place, proven, kit.index, comparison)


def _check_parent(engine: Network, kit: Kit) -> None:
    if kit.network.sha256 not in (engine.manifest.parent_sha256, engine.sha256):
        raise ArtifactError(
            f"{engine.path} was not built from the network in the kit: the SHA-256 of its parent differs.",
            "Leave `engine` out, so that it is built from the kit.",
        )


def _place(kit: Kit, config: VerifyConfig, out: Path | None) -> Path:
    return engine_path(kit.network, _precision(kit, config), find_backend(config.backend).suffix, out)


def _precision(kit: Kit, config: VerifyConfig) -> EnginePrecision:
    return config.precision or ("int8" if kit.ranges else "fp32")


def _build(kit: Kit, config: VerifyConfig, place: Path) -> Network:
    """Builds the engine aside; returns it where it lies until it has passed."""
    backend, precision = find_backend(config.backend), _precision(kit, config)
    takes_ranges = backend.takes_ranges(precision, validate_config(backend.options, config.options))
    if takes_ranges and kit.ranges is None:
        raise ConfigError(
            f"{kit.path} has no ranges, so no {precision} engine can be built from it.", "Pack it with its ranges."
        )
    aside = place.with_name(f"{place.name.removesuffix(backend.suffix)}.unverified{backend.suffix}")
    settings = BuildConfig(
        precision=precision,
        scheme=config.scheme,
        backend=config.backend,
        threads=config.threads,
        options=config.options,
        force=True,
    )
    build_engine(kit.network, settings, ranges=kit.ranges if takes_ranges else None, out=aside)
    return open_network(aside)


def _compare(engine: Network, kit: Kit, config: VerifyConfig) -> KitComparison:
    expected = kit.expected()
    with open_engine(engine, threads=config.threads) as opened:
        return compare_with_kit(opened, kit.frames(), expected, kit.index.tolerance, "Verifying the engine")
