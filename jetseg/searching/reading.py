"""How a trial is read from its storage: as data that anyone may have written, checked before any of it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from jetseg.config import explain
from jetseg.searching.config import LAST_RUNG, MOST_EPOCHS
from jetseg.searching.entries import Entry, Score, State
from jetseg.searching.optuna_library import optuna
from jetseg.searching.space import Space

STATES = optuna.trial.TrialState
_NAMES: Mapping[optuna.trial.TrialState, State] = {
    STATES.WAITING: "waiting",
    STATES.RUNNING: "running",
    STATES.COMPLETE: "complete",
    STATES.PRUNED: "pruned",
    STATES.FAIL: "failed",
}


def read_trial(trial: optuna.trial.FrozenTrial, space: Space) -> Entry:
    """Reads a trial.

    Args:
        trial: As the storage gives it.
        space: What is chosen from; params are checked against it.

    Raises:
        ValueError: No search wrote it; the message says what is wrong with it.
    """
    attrs = trial.user_attrs
    try:
        return Entry(
            number=trial.number,
            slot=int(attrs.get("slot", trial.number)),
            state=_NAMES[trial.state],
            params={name: space[name].read(value) for name, value in trial.params.items()},
            scores=tuple(Score.model_validate(score) for score in _rungs(attrs, "rung")),
            epochs=tuple(_epochs(epochs) for epochs in _rungs(attrs, "epochs")),
            prunes=None if attrs.get("prunes") is None else bool(attrs["prunes"]),
            worker=str(attrs.get("worker", "")),
            beat=str(attrs.get("beat", "")),
            reason=str(attrs.get("reason", "")),
            lost=bool(attrs.get("lost", False)),
            wasted=_interval(attrs.get("wasted")),
        )
    except ValidationError as error:
        raise ValueError(explain(error)) from error
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def kept_attrs(entry: Entry) -> dict[str, Any]:
    """Returns what a trial that is run again keeps of the one before, as it is read again."""
    kept: dict[str, Any] = {} if entry.prunes is None else {"prunes": entry.prunes}
    kept |= {f"rung{rung}": score.model_dump(mode="json") for rung, score in enumerate(entry.scores)}
    return kept | {f"epochs{rung}": epochs for rung, epochs in enumerate(entry.epochs)}


def _rungs(attrs: Mapping[str, Any], kind: str) -> Iterator[Any]:
    """Yields what a trial keeps for each rung, as long as there is something."""
    for rung in range(LAST_RUNG + 1):
        if f"{kind}{rung}" not in attrs:
            return
        yield attrs[f"{kind}{rung}"]


def _epochs(value: object) -> int:
    """Checks a number of epochs."""
    if not isinstance(value, int) or not 1 <= value <= MOST_EPOCHS:
        raise ValueError(f"{value!r} is no number of epochs")
    return value


def _interval(value: object) -> tuple[float, float] | None:
    """Checks when something began and ended."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{value!r} is no time")
    began, ended = map(float, value)
    if not math.isfinite(ended - began):
        raise ValueError(f"{value!r} is no time")
    return began, ended
