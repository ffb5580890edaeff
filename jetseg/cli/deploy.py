"""`jetseg deploy`: a kit in, and the vehicle drives with its engine; or the release before again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.cli.verify import content, show
from jetseg.kit.config import VerifyConfig

if TYPE_CHECKING:
    from jetseg.kit.releases import Release


@options.with_settings
def deploy(
    settings: Annotated[dict[str, Any], options.From(VerifyConfig)],
    kit: Annotated[Path | None, typer.Argument(help="Kit of `jetseg pack`.")] = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the releases.")] = Path("engines"),
    rollback: Annotated[bool, typer.Option("--rollback", help="Switch to the release before.")] = False,
    status: Annotated[bool, typer.Option("--status", help="List the releases.")] = False,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Builds an engine from a kit on the vehicle, proves it on the kit's reference frames, and switches to it.

    The kit is checked, its engine is built and verified beside the releases, and only then DIR/current, which
    `jetseg run DIR/current` drives with, leads to the new one: in one step. Until then, and after a failure or a power
    cut at any moment, the release before drives. It is kept, and --rollback switches back to it. A running loop ends
    after the switch, for its supervisor to start it again. Exit code 1 if the engine does not pass, 2 if the kit
    is damaged or not signed.

    Examples:

        jetseg deploy student.kit.zip --backend tensorrt --key /etc/jetseg/fleet.pub

        jetseg deploy --status

        jetseg deploy --rollback
    """
    from jetseg.errors import ConfigError
    from jetseg.kit.releases import list_releases
    from jetseg.workflows.deploying import roll_back

    if [kit is not None, rollback, status].count(True) != 1:
        raise ConfigError("`deploy` does one thing at a time.", "Give a kit, --rollback or --status.")
    if kit is not None:
        _deploy(kit, to, key, settings, as_json=as_json)
        return
    if rollback:
        _tell([roll_back(to, key=key)], as_json=as_json)
    else:
        _tell(list_releases(to), as_json=as_json)


def _deploy(kit: Path, to: Path, key: Path | None, settings: dict[str, Any], *, as_json: bool) -> None:
    from jetseg.errors import QualityError
    from jetseg.workflows.deploying import deploy as run

    result = run(kit, to=to, key=key, **settings)
    if as_json:
        told = content(result.verified)
        if result.release is None:
            print_json({**told, "engine": None, "release": None})
        else:
            print_json({**told, "release": _record(result.release)})
    elif result.release is None:
        show(result.verified)
    else:
        _tell([result.release], as_json=False)
    if result.release is None:
        raise QualityError(
            f"The engine is not what was packed: {'; '.join(result.verified.comparison.violations)}.",
            "The release before drives on. Pack again, or look at `jetseg verify` of this kit.",
        )


def _tell(releases: list[Release], *, as_json: bool) -> None:
    if as_json:
        print_json([_record(release) for release in releases])
        return
    if not releases:
        print_lines("Nothing is deployed.")
        return
    for release in releases:
        record = release.record
        print_lines(
            f"{release.number:06}{' drives' if release.current else ''}: {record.engine} of {record.kit}, "
            f"{record.precision} in {record.backend}, {record.agreement:.2f} % agreement, {record.deployed_at}, "
            + (f"signed ({' '.join(record.signed.split())})" if record.signed else "no signature was asked for")
        )


def _record(release: Release) -> dict[str, Any]:
    return {
        "number": release.number,
        "folder": str(release.folder),
        "current": release.current,
        **release.record.model_dump(),
    }
