"""Deploys a kit on the vehicle: builds and proves its engine aside, and switches to it in one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import jetseg
from jetseg.engine.engine import open_engine
from jetseg.kit.config import VerifyConfig
from jetseg.kit.opening import open_kit
from jetseg.kit.releases import Release, ReleaseRecord, changing, go_back, open_release, publish
from jetseg.kit.signature import check_signature, copy_signed
from jetseg.kit.verifying import VerifyResult, engine_name, verify
from jetseg.storage import sha256_file


@dataclass(frozen=True)
class DeployResult:
    """What deploying found.

    Attributes:
        verified: What the reference frames showed; an engine that did not pass is gone.
        release: The new release, which drives now; None if the engine did not pass: then the one before drives on.
    """

    verified: VerifyResult
    release: Release | None


def deploy(kit: Path, folder: Path, config: VerifyConfig, key: Path | None = None) -> DeployResult:
    """Builds a kit's engine beside the releases, proves it, and only then switches to it.

    Args:
        kit: The kit; it and its signature are copied into the release.
        folder: Where the releases are.
        config: What is built.
        key: Public key that the kit must be signed with.

    Raises:
        ArtifactError: The kit is damaged or not signed with the key.
        ConfigError: Another process deploys there.
        JetsegError: The engine cannot be built.
    """
    with changing(folder) as staging:
        staged = staging / "release"
        staged.mkdir()
        copy = copy_signed(kit, staged)
        signed = None if key is None else check_signature(copy, key, shown=kit)
        with open_kit(copy, within=staging) as opened:
            result = verify(opened, config, out=staged / engine_name(opened, config))
        if result.comparison.violations:
            return DeployResult(result, None)
        release = publish(folder, staged, _record(copy, signed, result))
        return DeployResult(replace(result, engine=release.folder / result.engine.name), release)


def roll_back(folder: Path, key: Path | None = None) -> Release:
    """Switches to the release before the one that drives, after checking that it is whole and opens; see `go_back`."""
    with changing(folder):
        return go_back(folder, lambda release: _check_opens(release, key))


def _check_opens(release: Path, key: Path | None) -> None:
    open_engine(open_release(release, key)).close()


def _record(kit: Path, signed: str | None, result: VerifyResult) -> ReleaseRecord:
    manifest = result.manifest
    return ReleaseRecord(
        kit=kit.name,
        kit_sha256=sha256_file(kit),
        engine=result.engine.name,
        engine_sha256=sha256_file(result.engine),
        backend=manifest.backend or "",
        precision=manifest.precision,
        agreement=round(result.comparison.agreement, 3),
        signed=signed,
        deployed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        jetseg=jetseg.__version__,
    )
