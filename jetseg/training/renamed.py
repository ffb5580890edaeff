"""Old names of settings, which are read until the next release but one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_LOG = logging.getLogger(__name__)

RENAMED = {"val_split": "eval_split"}


def accept_old_names(values: Any, renamed_to: Mapping[str, str] = RENAMED) -> Any:  # noqa: ANN401 - as it comes
    """Renames settings that had another name until 0.1; meant for validators that run before all others.

    Args:
        values: What is to be validated.
        renamed_to: New names by old ones.

    Raises:
        ValueError: A setting is given under both names.
    """
    if not isinstance(values, Mapping):
        return values
    renamed = dict(values)
    for old, new in renamed_to.items():
        if old in renamed:
            if new in renamed:
                raise ValueError(f"{old} is the old name of {new}: give one of them")
            _LOG.warning("The setting %s is now called %s; the old name goes with 0.3.", old, new)
            renamed[new] = renamed.pop(old)
    return renamed
