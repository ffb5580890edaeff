"""The trials of a search in their storage, its only state: every change is one that workers cannot both make.

A trial waits, is taken by one worker, comes to a score, and waits again for its next rung, until it is complete or
pruned. Who dies leaves a running trial, which others fail and put in again; what came twice in doing so yields to the
one of the lower number. So none is lost and none is run twice, whatever is cut off where.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from jetseg.errors import ConfigError
from jetseg.searching.entries import Entry, Score
from jetseg.searching.liveness import Watch, worker_name
from jetseg.searching.optuna_library import Storage, distributions_of, optuna
from jetseg.searching.reading import STATES, kept_attrs, read_trial
from jetseg.searching.space import Space, Value

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
_MOST_LIVES = 4
"""How often a trial is begun whose workers die of it."""


class TakenOverError(Exception):
    """A trial that this worker ran was failed and taken by another, which held it for dead."""


class Board:
    """The trials of one search.

    Args:
        storage: Where they are kept.
        name: Name of the search there.
        space: What is chosen from; params that others wrote are checked against it.
        watch: Notices dead workers.
    """

    def __init__(self, storage: Storage, name: str, space: Space, watch: Watch | None = None) -> None:
        self.name, self.storage, self.space = name, storage, space
        self.worker = worker_name()
        self._trials = storage.trials
        self._study = self._patiently(partial(self._trials.get_study_id_from_name, name))
        self._watch = watch or Watch()

    def fill(self, count: int) -> None:
        """Puts in the trials that a search lacks."""
        with self.storage.taking():
            there = {entry.slot for entry in self.entries()}
            for slot in sorted(set(range(count)) - there):
                self._put_in(slot, {}, {})

    def entries(self) -> list[Entry]:
        """Returns all trials as they are now.

        Raises:
            ConfigError: The storage holds what no search writes.
        """
        found = self._patiently(partial(self._trials.get_all_trials, self._study, deepcopy=False))
        return [self._read(trial) for trial in found]

    def take(self, entry: Entry, epochs: int) -> Entry | None:
        """Takes a waiting trial for this worker; None if another was faster in any way, or if it came twice.

        Args:
            entry: The trial.
            epochs: Epochs of its next rung, kept so that whoever goes on with it does the same.

        Raises:
            TakenOverError: Another worker ended it at this moment.
        """
        trial = self._id(entry)
        try:
            with self.storage.taking():
                if not self._patiently(partial(self._trials.set_trial_state_values, trial, STATES.RUNNING)):
                    return None
        except optuna.exceptions.UpdateFinishedTrialError:
            return None
        self._note(entry, worker=self.worker, beat=f"{self.worker}#0")
        if any(self._is_before(other, entry) for other in self.entries()):
            self._finish(entry, STATES.FAIL, lost=True, reason="it came twice")
            return None
        fresh = self.now(entry)
        if fresh.rung != entry.rung:  # another took it, brought it further and gave it back since it was looked at
            self.release(fresh)
            return None
        if not fresh.has_all and len(fresh.epochs) == fresh.rung:
            self._note(entry, **{f"epochs{fresh.rung}": epochs})
        return self.now(entry)

    def now(self, entry: Entry) -> Entry:
        """Returns a trial as it is now."""
        return self._read(self._patiently(partial(self._trials.get_trial, self._id(entry))))

    def choose(self, entry: Entry, params: Mapping[str, Value]) -> Entry:
        """Writes what was chosen for a trial; what it has already stays."""
        distributions, trial = distributions_of(self.space), self._id(entry)
        for name in [name for name in self.space if name not in entry.params]:
            internal = distributions[name].to_internal_repr(params[name])
            self._update(partial(self._trials.set_trial_param, trial, name, internal, distributions[name]))
        return self.now(entry)

    def note_prunes(self, entry: Entry, *, prunes: bool) -> None:
        """Keeps whether a trial's chain prunes."""
        self._note(entry, prunes=prunes)

    def beat(self, entry: Entry, count: int) -> None:
        """Tells others that this worker lives."""
        self._trials.set_trial_user_attr(self._id(entry), "beat", f"{self.worker}#{count}")

    def score(self, entry: Entry, score: Score) -> Entry:
        """Keeps what a trial came to on its rung."""
        self._note(entry, **{f"rung{entry.rung}": score.model_dump(mode="json")})
        return self.now(entry)

    def release(self, entry: Entry) -> None:
        """Lets a trial wait, for its next rung or for another worker."""
        self._finish(entry, STATES.WAITING, worker="")

    def let_go(self, entry: Entry) -> None:
        """Lets a trial wait for another worker, if the storage answers at once; else they find that this one ended."""
        with suppress(Exception):
            trial = self._id(entry)
            self._trials.set_trial_user_attr(trial, "worker", "")
            self._trials.set_trial_state_values(trial, STATES.WAITING)

    def complete(self, entry: Entry) -> None:
        """Ends a trial that has all of its rungs behind it."""
        last = entry.scores[-1]
        values = (last.miou, last.latency_ms, float(last.size_bytes))
        self._finish(entry, STATES.COMPLETE, values)

    def prune(self, entry: Entry, reason: str, wasted: tuple[float, float] | None = None) -> None:
        """Ends a trial that is not worth more work, or that cannot be made; it need not be this worker's."""
        self._finish(entry, STATES.PRUNED, reason=reason, wasted=wasted)

    def fail(self, entry: Entry, reason: str, wasted: tuple[float, float] | None = None) -> None:
        """Ends a trial that something unexpected stopped; it is not run again."""
        self._finish(entry, STATES.FAIL, reason=reason, wasted=wasted)

    def revive(self) -> None:
        """Fails the trials of dead workers, and puts in again whatever is in no living hand."""
        entries = self.entries()
        for entry in self._watch.dead(entries):
            _LOG.warning("The worker of trial %d is gone; the trial is run again.", entry.slot)
            try:
                self._finish(entry, STATES.FAIL, lost=True, reason="its worker is gone")
            except TakenOverError:
                continue  # another saw it first
        with self.storage.taking():
            entries = self.entries()
            for entry in entries:
                same = [other for other in entries if other.slot == entry.slot]
                newest = max(same, key=lambda other: other.number)
                if entry is newest and all(other.lost for other in same) and len(same) < _MOST_LIVES:
                    self._put_in(entry.slot, entry.params, kept_attrs(entry))

    def pause(self, seconds: float = 1.0) -> None:
        """Waits a moment for what other workers do."""
        time.sleep(seconds)

    def _read(self, trial: optuna.trial.FrozenTrial) -> Entry:
        """Checks a trial; nothing in it is used before."""
        try:
            return read_trial(trial, self.space)
        except ValueError as error:
            raise ConfigError(
                f"Trial {trial.number} of {self.name} in {self.storage.address} is none of a search: {error}.",
                "Give another storage or another name.",
            ) from error

    def _put_in(self, slot: int, params: Mapping[str, Value], attrs: Mapping[str, Any]) -> None:
        distributions = distributions_of(self.space)
        template = optuna.trial.create_trial(
            state=STATES.WAITING,
            params=dict(params),
            distributions={name: distributions[name] for name in params},
            user_attrs={**attrs, "slot": slot},
        )
        self._patiently(partial(self._trials.create_new_trial, self._study, template_trial=template))

    @staticmethod
    def _is_before(other: Entry, entry: Entry) -> bool:
        """Tells whether another trial of the same slot has the better right to be run."""
        return other.slot == entry.slot and not other.lost and other.number < entry.number

    def _id(self, entry: Entry) -> int:
        find = self._trials.get_trial_id_from_study_id_trial_number
        return self._patiently(partial(find, self._study, entry.number))

    def _note(self, entry: Entry, **attrs: Any) -> None:  # noqa: ANN401 - JSON values
        trial = self._id(entry)
        for key, value in attrs.items():
            self._update(partial(self._trials.set_trial_user_attr, trial, key, value))

    def _finish(
        self,
        entry: Entry,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None = None,
        **attrs: Any,  # noqa: ANN401
    ) -> None:
        """Notes and ends; the notes come first, because an ended trial takes none."""
        self._note(entry, **attrs)
        trial = self._id(entry)
        self._update(partial(self._trials.set_trial_state_values, trial, state, values))

    def _update(self, change: Callable[[], object]) -> None:
        try:
            self._patiently(change)
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise TakenOverError from error

    def _patiently(self, call: Callable[[], T]) -> T:
        return self.storage.patiently(call)
