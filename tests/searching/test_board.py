"""The trials in their storage: interrupted anywhere a search goes on, and what a storage holds is data."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")
from cheap_search import NAME, begin_cheap, cheap_facts, cheap_score

from jetseg.address import StorageAddress
from jetseg.errors import ConfigError, DeviceError, StorageError
from jetseg.searching.board import Board
from jetseg.searching.entries import Entry
from jetseg.searching.findings import count, find
from jetseg.searching.liveness import Watch, is_gone, worker_name
from jetseg.searching.optuna_library import open_storage
from jetseg.searching.proposals import propose
from jetseg.searching.space import space_of, usual_of
from jetseg.searching.studies import check_same, only_search
from jetseg.searching.worker import work


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "study.journal")


def measure(board, entry):
    return cheap_score(entry)


def test_interrupted_at_any_trial_a_search_goes_on_and_then_does_nothing_new(journal):
    facts, measured = cheap_facts(trials=6), []

    def interrupted(board, entry):
        measured.append((entry.slot, entry.rung))
        if len(measured) % 2:
            raise KeyboardInterrupt
        return cheap_score(entry)

    runs = 0
    while True:
        board = begin_cheap(journal, trials=6)
        try:
            work(board, facts, interrupted)
            break
        except KeyboardInterrupt:
            runs += 1
    assert runs == 9, "six probes, two short trainings, one long"
    assert measured[::2] == measured[1::2]
    counts = count(board.entries())
    assert (counts.complete, counts.pruned, counts.failed) == (1, 5, 0)
    lines = Path(journal).read_bytes()
    work(begin_cheap(journal, trials=6), facts, interrupted)
    assert Path(journal).read_bytes() == lines


def test_more_trials_can_be_asked_for_later(journal):
    work(begin_cheap(journal, trials=3), cheap_facts(trials=3), measure)
    board = begin_cheap(journal, trials=3)
    board.fill(5)
    assert [entry.slot for entry in board.entries() if entry.state == "waiting"] == [3, 4]


def test_a_fault_in_one_chain_fails_that_trial_and_what_cannot_be_made_is_pruned(journal):
    def measure(board, entry):
        if entry.slot == 1:
            raise ZeroDivisionError("a bug")
        if entry.slot == 2:
            raise ConfigError("cannot be made so fast")
        return cheap_score(entry)

    board = begin_cheap(journal, trials=4)
    work(board, cheap_facts(trials=4), measure)
    result = find(board.entries(), board.space, {}, cheap_facts(trials=4))
    assert (result.trials.complete, result.trials.failed, result.trials.pruned) == (1, 1, 2)
    assert result.lost[1] == "ZeroDivisionError: a bug"
    assert "cannot be made" in result.lost[2]


def test_what_the_machine_lacks_ends_the_worker_and_leaves_the_trial_to_another(journal):
    def full(board, entry):
        raise StorageError("The disk is full.")

    board = begin_cheap(journal, trials=3)
    with pytest.raises(StorageError):
        work(board, cheap_facts(trials=3), full)
    assert {entry.state for entry in board.entries()} == {"waiting"}


def test_one_that_was_held_for_dead_gives_its_trial_up(journal):
    board = begin_cheap(journal, trials=1)
    seen = []

    def slow(board, entry):
        seen.append(entry.number)
        if len(seen) == 1:  # another worker sees a beat that stands still
            other = begin_cheap(journal, trials=1)
            watch = iter([0.0, 1000.0])
            other._watch = Watch(clock=lambda: next(watch))
            other.revive()
            other.revive()
        return cheap_score(entry)

    work(board, cheap_facts(trials=1), slow, beat_seconds=100)
    assert seen == [0, 1, 1, 1]
    assert [(entry.state, entry.lost) for entry in board.entries()] == [("failed", True), ("complete", False)]


def test_what_came_twice_yields_to_the_lower_number(journal):
    board = begin_cheap(journal, trials=1)
    board._put_in(0, {}, {})
    first, second = board.entries()
    assert board.take(second, 1) is None
    assert board.take(first, 1) is not None
    assert board.take(first, 1) is None, "it is taken"
    assert [entry.lost for entry in board.entries()] == [False, True]


def test_a_trial_that_another_brought_further_since_it_was_looked_at_is_given_back(journal):
    board = begin_cheap(journal, trials=3)
    (stale, *_), params = board.entries(), {}
    taken = board.take(stale, 1)
    params = propose([], taken, board.space, cheap_facts())
    taken = board.choose(taken, params)
    board.release(board.score(taken, cheap_score(taken)))
    assert board.take(stale, 7) is None
    (entry, *_) = board.entries()
    assert (entry.state, entry.rung, entry.epochs) == ("waiting", 1, (1,))


def test_a_trial_that_kills_its_workers_is_not_begun_for_ever(journal):
    board = begin_cheap(journal, trials=1)
    for _ in range(10):
        board._watch.clock = iter(range(0, 10**6, 1000)).__next__
        waiting = [entry for entry in board.entries() if entry.state == "waiting"]
        if not waiting:
            break
        board.take(waiting[0], 1)
        board.revive()
        board.revive()
    assert len(board.entries()) == 4
    assert count(board.entries()).failed == 1


def test_a_line_that_a_power_cut_left_unfinished_is_taken_away(journal):
    begin_cheap(journal, trials=2)
    with Path(journal).open("a") as file:
        file.write('{"op_code":5,"trial')
    board = begin_cheap(journal, trials=2)
    work(board, cheap_facts(trials=2), measure)
    assert count(begin_cheap(journal, trials=2).entries()).complete == 1
    assert all(json.loads(line) for line in Path(journal).read_text().splitlines())


def test_proposals_that_are_random_are_those_of_the_slot_on_whatever_worker(journal):
    board = begin_cheap(journal, trials=6)
    facts, entries = cheap_facts(trials=6), board.entries()
    assert propose(entries, entries[5], board.space, facts) == propose(entries[:1], entries[5], board.space, facts)
    assert propose(entries, entries[5], board.space, facts) != propose(entries, entries[4], board.space, facts)


@pytest.mark.parametrize("fix", [{}, {"input_scale": "0.75"}])
def test_no_two_of_the_first_trials_are_the_same(fix):
    facts = cheap_facts(fix=fix)
    space = space_of(facts.config)
    tried = [propose([], Entry(slot, slot, "running"), space, facts) for slot in range(4)]
    assert tried[0] == usual_of(space)
    assert all(params not in tried[:slot] for slot, params in enumerate(tried))


def test_what_decides_about_accuracy_is_the_most_important_choice(journal):
    board = begin_cheap(journal)
    work(board, cheap_facts(), measure)
    result = find(board.entries(), board.space, {}, cheap_facts())
    assert next(iter(result.importance)) == "input_scale"
    assert sum(result.importance.values()) == pytest.approx(1)
    assert result.best.latency_ms <= result.budget_ms == 5.0
    assert result.runner_up.miou <= result.best.miou
    assert result.best in result.front
    gains = {bought.choice: bought.miou_gain for bought in result.bought}
    assert set(gains) == set(board.space)
    assert gains["input_scale"] >= 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("rung0", {"miou": 1}), ("rung0", "__import__('os')"), ("epochs0", -1), ("epochs0", 10**9), ("slot", "x")],
)
def test_a_trial_that_no_search_wrote_is_refused(journal, key, value):
    board = begin_cheap(journal, trials=1)
    board._trials.set_trial_user_attr(0, key, value)
    with pytest.raises(ConfigError, match="Trial 0 of cheap"):
        board.entries()


def test_params_from_a_storage_are_checked_against_what_there_is_to_choose(journal):
    board = begin_cheap(journal, trials=1)
    foreign = dict(board.space, criterion=replace(board.space["criterion"], options=("os:system",)))
    entry = board.take(board.entries()[0], 1)
    Board(board.storage, NAME, foreign)
    from jetseg.searching.optuna_library import distributions_of

    distribution = distributions_of(foreign)["criterion"]
    board._trials.set_trial_param(board._id(entry), "criterion", 0.0, distribution)
    with pytest.raises(ConfigError, match="must be one of taylor"):
        board.entries()


def test_a_search_with_other_settings_or_another_network_is_not_gone_on_with(journal):
    then = cheap_facts()
    now = then.model_copy(update={"config": cheap_facts(seed=3, trials=99).config, "data_sha256": "1" * 64})
    with pytest.raises(ConfigError, match=r"(?s)seed: 0 then, 3 now.*data: another one") as raised:
        check_same(then, now)
    assert "trials" not in str(raised.value)


def test_only_a_file_or_postgresql_keeps_a_search_and_no_message_has_its_password(tmp_path):
    for url in ("mysql://jet:sesame@host/db", "postgresql://jet:sesame@127.0.0.1:1/db", "postgresql://127.0.0.1:1"):
        with pytest.raises((ConfigError, DeviceError)) as raised:
            open_storage(StorageAddress(url), make=True)
        assert "sesame" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None or raised.value.__suppress_context__
    with pytest.raises(ConfigError, match="There is no search"):
        open_storage(StorageAddress(str(tmp_path / "none.journal")), make=False)
    (tmp_path / "odd.journal").write_text("not a journal\n")
    with pytest.raises(ConfigError, match="no storage of a search"):
        open_storage(StorageAddress(str(tmp_path / "odd.journal")), make=False)


def test_the_only_search_of_a_storage_needs_no_name(journal):
    board = begin_cheap(journal, trials=1)
    assert only_search(board.storage) == NAME


def test_a_worker_that_ended_is_known_at_once():
    assert not is_gone(worker_name())
    script = "from jetseg.searching.liveness import worker_name; print(worker_name())"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert is_gone(ended)
    assert not is_gone(f"another-machine/{ended.partition('/')[2]}")
    assert not is_gone("")
