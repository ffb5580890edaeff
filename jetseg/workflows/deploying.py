"""A kit's way into the vehicle's loop, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetseg.config import validate_config
from jetseg.kit import deploying
from jetseg.kit.config import VerifyConfig
from jetseg.kit.deploying import DeployResult
from jetseg.kit.releases import Release
from jetseg.kit.signature import key_in_force
from jetseg.progress import ProgressCallback, report_progress

FOLDER = Path("engines")
"""Where releases are, unless another folder is named; `current` in it leads to the one that drives."""


def deploy(
    kit: Path | str,
    *,
    to: Path | str = FOLDER,
    key: Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> DeployResult:
    """Builds an engine from a kit on this machine, proves it, and makes it the one that drives, in one step.

    Whatever happens before that step, the release before drives on.

    Args:
        kit: The kit; its signature is beside it.
        to: Folder of the releases.
        key: Public key of minisign that the kit must be signed with; see `jetseg.kit.signature.key_in_force`.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.kit.config.VerifyConfig`, as in `backend="tensorrt"`.

    Returns:
        What the reference frames showed, and the new release; it is None if the engine did not pass.

    Raises:
        ArtifactError: The kit is damaged, or not signed with the key.
        ConfigError: Settings are wrong, or another process deploys there.
        JetsegError: The engine cannot be built here.
    """
    config = validate_config(VerifyConfig, settings)
    with report_progress(progress):
        return deploying.deploy(Path(kit), Path(to), config, key_in_force(key))


def roll_back(to: Path | str = FOLDER, *, key: Path | str | None = None) -> Release:
    """Makes the release before the one that drives.

    Args:
        to: Folder of the releases.
        key: Public key that its kit must be signed with.

    Raises:
        ArtifactError: It is damaged, or not signed with the key.
        ConfigError: There is none.
    """
    return deploying.roll_back(Path(to), key_in_force(key))
