"""A search whose trials cost nothing: what one comes to follows from its choices. Run as a script, it is a worker."""

from __future__ import annotations

import sys
import time

from jetseg.address import StorageAddress
from jetseg.searching.board import Board
from jetseg.searching.config import SearchConfig
from jetseg.searching.entries import Entry, Score
from jetseg.searching.facts import Facts
from jetseg.searching.liveness import Watch
from jetseg.searching.optuna_library import open_storage
from jetseg.searching.space import space_of
from jetseg.searching.studies import begin, read_facts
from jetseg.searching.worker import work

NAME = "cheap"
GIVEN = {"miou": 60.0, "latency_ms": 10.0, "size_bytes": 1000}


def cheap_facts(**settings: object) -> Facts:
    """Describes a search; by default 24 trials in half of the given network's time."""
    config = SearchConfig(**{"trials": 24, "budget_ratio": 0.5, **settings})
    return Facts(
        version="0",
        config=config,
        space={name: str(choice) for name, choice in space_of(config).items()},
        checkpoint="given.safetensors",
        checkpoint_sha256="0" * 64,
        data="synthetic:2",
        data_sha256="0" * 64,
        device="cpu",
        **GIVEN,
    )


def cheap_score(entry: Entry) -> Score:
    """Returns what a trial comes to: the better the larger its input, up to a plateau, and the longer its training."""
    scale, rung = float(entry.params["input_scale"]), entry.rung
    miou = 40 + 6 * rung + 10 * min(scale, 0.75) + (1 if entry.params["distillation"] == "kd" else 0)
    latency_ms = 4.0 + max(0.0, scale - 0.75) * 8
    now = time.time()
    return Score(
        miou=miou,
        latency_ms=latency_ms,
        size_bytes=int(500 * scale),
        engine=f"{entry.slot}.onnx" if rung else None,
        began=now,
        ended=now,
        worker="w",
    )


def begin_cheap(address: str, **settings: object) -> Board:
    """Begins a search, or opens the one that was begun."""
    storage = open_storage(StorageAddress(address), make=True)
    facts = begin(storage, NAME, cheap_facts(**settings))
    board = Board(storage, NAME, space_of(facts.config))
    board.fill(facts.config.trials)
    return board


def tell(what: str, entry: Entry) -> None:
    """Tells the test what this worker does."""
    sys.stdout.write(f"{what} {entry.slot} {entry.rung}\n")
    sys.stdout.flush()


def main(address: str, hangs: str) -> None:
    """Works as one of several; told to hang, it stops in the middle of its second trial."""
    storage = open_storage(StorageAddress(address), make=False)
    facts = read_facts(storage, NAME)
    board = Board(storage, NAME, space_of(facts.config), Watch())
    measured = 0

    def measure(board: Board, entry: Entry) -> Score:
        nonlocal measured
        measured += 1
        if hangs == "hang" and measured == 2:
            tell("hanging", entry)
            sys.stdin.read()  # until it is killed
        score = cheap_score(entry)
        tell("measured", entry)
        if measured == 3:
            sys.stdin.readline()  # so that no worker is done before the others have begun
        return score

    work(board, facts, measure, beat_seconds=0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
