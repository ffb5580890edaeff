"""Settings of a lint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetseg.config import Settings

Device = Literal["gpu", "dla"]


class LintConfig(Settings):
    """What a network is checked for."""

    target: str | None = Field(
        None, description="Computer that it is for: orin-nano-8gb, orin-nx-16gb, agx-orin-64gb, ..."
    )
    device: Device = Field("gpu", description="What it shall run on.")
