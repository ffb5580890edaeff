"""One line of the doctor's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: What was looked at.
        verdict: "ok"; "warning" where it is there but will hurt; "missing" where it is not there.
        found: What is there, with versions.
        next_step: What to do; empty where nothing has to be done.
    """

    name: str
    verdict: Verdict
    found: str
    next_step: str = ""
