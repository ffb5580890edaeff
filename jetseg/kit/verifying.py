"""Builds or opens an engine on this machine and proves it on a kit's reference frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetseg.engine.backend import find_backend
from jetseg.engine.build import build_engine, engine_path, move_engine
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.errors import ArtifactError, ConfigError
from jetseg.kit.config import VerifyConfig
from jetseg.kit.contents import KitIndex
from jetseg.kit.opening import Kit
from jetseg.kit.reference import KitComparison, compare_with_kit
from jetseg.manifest import EnginePrecision, Manifest
from jetseg.measured import Parity
from jetseg.network import Network, open_network, save_manifest


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
    place, built = _build(kit, config, out)
    comparison = _compare(built, kit, config)
    if comparison.violations:
        return VerifyResult(built.path, built.manifest, kit.index, comparison)
    parity = Parity(frames=comparison.frames, argmax_agreement=round(comparison.agreement / 100, 5))
    accuracy = (comparison.after,) if comparison.after else ()
    proven = built.manifest.changed(parity=parity, accuracy=accuracy)
    manifest = save_manifest(built.path, proven, device=proven.device, versions=proven.toolchain)
    move_engine(built.path, place)
    return VerifyResult(place, manifest, kit.index, comparison)


def _check_parent(engine: Network, kit: Kit) -> None:
    if kit.network.sha256 not in (engine.manifest.parent_sha256, engine.sha256):
        raise ArtifactError(
            f"{engine.path} was not built from the network in the kit: the SHA-256 of its parent differs.",
            "Leave `engine` out, so that it is built from the kit.",
        )


def _build(kit: Kit, config: VerifyConfig, out: Path | None) -> tuple[Path, Network]:
    """Builds the engine aside; returns its place, and the engine where it lies until it has passed."""
    suffix = find_backend(config.backend).suffix
    precision: EnginePrecision = config.precision or ("int8" if kit.ranges else "fp32")
    if precision == "int8" and kit.ranges is None:
        raise ConfigError(
            f"{kit.path} has no ranges, so no int8 engine can be built from it.", "Pack it with its ranges."
        )
    place = engine_path(kit.network, precision, suffix, out)
    aside = place.with_name(f"{place.name.removesuffix(suffix)}.unverified{suffix}")
    settings = BuildConfig(precision=precision, backend=config.backend, threads=config.threads, options=config.options)
    build_engine(kit.network, settings, ranges=kit.ranges if precision == "int8" else None, out=aside)
    return place, open_network(aside)


def _compare(engine: Network, kit: Kit, config: VerifyConfig) -> KitComparison:
    expected = kit.expected()
    with open_engine(engine, threads=config.threads) as opened:
        return compare_with_kit(opened, kit.frames(), expected, kit.index.tolerance, "Verifying the engine")
