"""What the user trusts: whose code a name in a file may call, and whose signature a file must have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from jetseg.config import Settings, validate_config
from jetseg.errors import ConfigError
from jetseg.text_data import TextDataError, read_data

SETTINGS_PLACE = "~/.config/jetseg/settings.yaml"
_named: set[str] = set()


class UserSettings(Settings):
    """What a user decides for all folders that they work in."""

    trusted_factories: tuple[str, ...] = Field(
        (), description="Networks, as package.module:factory, that the manifest of a checkpoint may name."
    )
    trusted_key: Path | None = Field(
        None, description="Public key of minisign: kits, networks and releases that it did not sign are refused."
    )


def trust(factories: Iterable[str]) -> None:
    """Lets files name these factories from now on, in this process; only for names that the user said."""
    _named.update(factories)


def named_factories() -> frozenset[str]:
    """Returns the factories that the user named in this process."""
    return frozenset(_named)


def is_trusted(factory: str) -> bool:
    """Tells whether the user named a factory, in this process or in their settings.

    Raises:
        ConfigError: The settings are malformed.
    """
    return factory in _named or factory in read_user_settings().trusted_factories


def settings_file() -> Path | None:
    """Returns the place of the user's settings, in their own configuration folder; None for a user without a home.

    The current folder has no say: it may be somebody else's, as an unpacked archive is.
    """
    configured = os.environ.get("XDG_CONFIG_HOME")
    place = f"{configured}/jetseg/settings.yaml" if configured else SETTINGS_PLACE
    path = Path(os.path.expanduser(place))  # noqa: PTH111 - leaves the text as it is where there is no home
    return path if path.is_absolute() else None


def read_user_settings() -> UserSettings:
    """Reads the user's settings; without a file all are as they come.

    Raises:
        ConfigError: The file is malformed.
    """
    path = settings_file()
    if path is None or not path.is_file():
        return UserSettings()
    try:
        content = read_data(path)
    except (OSError, TextDataError) as error:
        raise ConfigError(f"{path} could not be read as YAML: {error}", "Check the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings.", "Write `trusted_factories: [package.module:factory]`.")
    try:
        return validate_config(UserSettings, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.found}", "Correct it.") from error
