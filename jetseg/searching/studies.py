"""Begins a search in a storage, finds one there, and sees to it that all workers mean the same."""

from __future__ import annotations

import warnings
from functools import partial

from pydantic import ValidationError

from jetseg.config import explain
from jetseg.errors import ConfigError
from jetseg.searching.facts import Facts, Identity
from jetseg.searching.optuna_library import DIRECTIONS, Storage, optuna

_FACTS = "jetseg"
_METRICS = ["mIoU %", "latency ms", "bytes"]


def read_facts(storage: Storage, name: str) -> Facts | None:
    """Returns what holds for a search; None if there is none of this name.

    Raises:
        ConfigError: Another program's study has this name, or the search is not begun yet.
    """
    try:
        study = storage.patiently(partial(storage.trials.get_study_id_from_name, name))
    except KeyError:
        return None
    attrs = storage.patiently(partial(storage.trials.get_study_user_attrs, study))
    if _FACTS not in attrs:
        return None
    try:
        return Facts.model_validate(attrs[_FACTS])
    except ValidationError as error:
        raise ConfigError(
            f"{name} in {storage.address} is no search of this version:\n{explain(error)}",
            "\nGive another name or another storage.",
        ) from error


def begin(storage: Storage, name: str, facts: Facts) -> Facts:
    """Begins a search; if that was done before, returns what was written then."""
    known = read_facts(storage, name)
    if known is not None:
        return known
    study = storage.patiently(
        partial(
            optuna.create_study,
            storage=storage.trials,
            study_name=name,
            directions=DIRECTIONS,
            load_if_exists=True,
        )
    )
    with storage.taking():
        if read_facts(storage, name) is None:
            if study.trials:
                raise ConfigError(f"{name} in {storage.address} is a study of another program.", "Give another `name`.")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage.patiently(partial(study.set_metric_names, _METRICS))
            storage.patiently(partial(study.set_user_attr, _FACTS, facts.model_dump(mode="json")))
    return read_facts(storage, name) or facts


def renew(storage: Storage, name: str, facts: Facts) -> None:
    """Tells other workers of more trials or more time."""
    study = storage.patiently(partial(storage.trials.get_study_id_from_name, name))
    content = facts.model_dump(mode="json")
    storage.patiently(partial(storage.trials.set_study_user_attr, study, _FACTS, content))


def only_search(storage: Storage) -> str:
    """Returns the name of the only search in a storage.

    Raises:
        ConfigError: There is none, or there are several.
    """
    studies = storage.patiently(storage.trials.get_all_studies)
    names = [study.study_name for study in studies if _FACTS in study.user_attrs]
    if len(names) != 1:
        found = f"several searches: {', '.join(names)}" if names else "no search"
        raise ConfigError(
            f"{storage.address} holds {found}.",
            "Say which by `name`." if names else "Begin one, or wait until it has measured the given network.",
        )
    return names[0]


def check_same(then: Identity, now: Identity) -> None:
    """Refuses to go on with a search with other settings, another network, other data, or on another device.

    Raises:
        ConfigError: Something differs; all of it is named.
    """
    before, after = then.config.identity(), now.config.identity()
    changes = [f"{key}: {before[key]!r} then, {after[key]!r} now" for key in before if before[key] != after[key]]
    spaces = dict.fromkeys([*then.space, *now.space])
    changes += [
        f"choice {name}: {then.space.get(name, 'none')} then, {now.space.get(name, 'none')} now"
        for name in spaces
        if then.space.get(name) != now.space.get(name)
    ]
    changes += [
        f"{what}: another one"
        for what, one, other in (
            ("network", then.checkpoint_sha256, now.checkpoint_sha256),
            ("data", then.data_sha256, now.data_sha256),
            ("teacher", then.teacher_sha256, now.teacher_sha256),
        )
        if one != other
    ]
    if then.device != now.device:
        changes.append(f"device: {then.device} then, {now.device} now, whose latencies do not compare")
    if then.version != now.version:
        changes.append(f"jetseg: {then.version} then, {now.version} now")
    if changes:
        raise ConfigError(
            "The search was begun with something else:\n" + "\n".join(f"  {change}" for change in changes),
            "\nGive the same as then, or another `out` or `name`.",
        )
