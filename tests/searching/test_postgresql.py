"""Four workers on a real PostgreSQL: one is killed, the server restarts, one joins late; no trial is lost or double."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("psycopg")
from cheap_search import begin_cheap, cheap_facts, cheap_score

from jetseg.searching.findings import count, find
from jetseg.searching.worker import work

_BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


class Server:
    """A database of its own, reached by a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._call("initdb", "--username=postgres", "--auth=trust", "--no-sync")

    def control(self, *arguments: str) -> None:
        self._call(
            "pg_ctl",
            "--wait",
            f"--options=-k {self.folder} -h '' -c fsync=off",
            "--log",
            f"{self.folder}/log",
            *arguments,
        )

    def _call(self, program: str, *arguments: str) -> None:
        who = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*who, f"{_BIN}/{program}", "--pgdata", f"{self.folder}/data", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


@pytest.fixture
def server() -> Iterator[Server]:
    if _BIN is None or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # its socket's path must be short
    server = Server(folder)
    server.control("start")
    try:
        yield server
    finally:
        server.control("--mode=immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts workers, which are gone in the end."""
    script = str(Path(__file__).with_name("cheap_search.py"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:

        def run(url: str, hangs: str = "") -> subprocess.Popen[str]:
            worker = stack.enter_context(subprocess.Popen([sys.executable, script, url, hangs], **pipes))
            stack.callback(worker.kill)
            return worker

        yield run


def _said(worker: subprocess.Popen[str], lines: int) -> list[str]:
    return [worker.stdout.readline().strip() for _ in range(lines)]


@pytest.mark.long
def test_no_trial_is_lost_or_double_whatever_dies(server, start, tmp_path):
    board = begin_cheap(server.url)
    dying, *living = [start(server.url, "hang"), start(server.url), start(server.url)]
    said = _said(dying, 2)
    assert said[1].startswith("hanging")
    for worker in living:
        said += _said(worker, 3)  # and now it waits
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    server.control("--mode=immediate", "restart")
    living.append(start(server.url))
    for worker in living:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in living:
        said += worker.communicate(timeout=200)[0].split("\n")
        assert worker.returncode == 0

    entries, facts = board.entries(), cheap_facts()
    counts = count(entries)
    assert (counts.complete + counts.pruned, counts.failed, counts.waiting) == (24, 0, 0)
    kept = [entry.slot for entry in entries if not entry.lost]
    assert sorted(kept) == list(range(24))
    assert {entry.slot for entry in entries if entry.lost} == {int(said[1].split()[1])}
    measured = [line for line in said if line.startswith("measured")]
    assert len(measured) == len(set(measured)), "nothing was measured twice"
    assert len(measured) == sum(entry.rung for entry in entries if not entry.lost)

    alone = begin_cheap(str(tmp_path / "alone.journal"))
    work(alone, facts, lambda board, entry: cheap_score(entry))
    many, one = (find(board.entries(), board.space, {}, facts) for board in (board, alone))
    assert one.best.miou == pytest.approx(many.best.miou, abs=1.5)
    assert one.best.latency_ms == pytest.approx(many.best.latency_ms, rel=0.1)
    assert one.trials == many.trials
    board.storage.__exit__()
