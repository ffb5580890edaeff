"""Cuts an operation off at its n-th file-changing system call, and looks at what is left.

Run as `LD_PRELOAD=shim.so python driver.py OPERATION FOLDER POINTS`; prints one JSON object. POINTS is "all", or how many
points to try, spread evenly. The process itself only forks: a child prepares the old state, one does the work and is cut
off, and one looks at what is left as a reader that knows nothing, and does the work again.
"""

import ctypes
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 77
BEFORE, WITHIN = 0, 1


def drive(name: str, folder: Path, points: str) -> dict[str, Any]:
    from operations import OPERATIONS

    operation = OPERATIONS[name]()
    operation.load()
    start, work = folder / "start", folder / "work"
    work.mkdir()
    in_child(lambda: operation.prepare(work), work)
    shutil.copytree(work, start, symlinks=True)
    old = in_child(lambda: operation.read(work), work)
    calls = in_child(lambda: count_calls(operation, work), work)
    new = in_child(lambda: operation.read(work), work)
    clean = listing(work)
    assert old != new, "the operation must change what a reader sees"
    failures, tried = [], 0
    for call, how in chosen(points_of(calls), points):
        shutil.rmtree(work)
        shutil.copytree(start, work, symlinks=True)
        if not killed(lambda call=call, how=how: cut(operation, work, call, how), work):
            continue  # a call that is not made every time
        tried += 1
        try:
            in_child(lambda: check(operation, work, old, new, clean), work)
        except AssertionError as error:
            failures.append(f"call {call}{' cut in half' if how == WITHIN else ''}: {error}")
    return {"calls": len(calls), "points": tried, "failures": failures}


def cut(operation: Any, work: Path, call: int, how: int) -> None:
    shim().shim_arm(call, how)
    operation.run(work)


def count_calls(operation: Any, work: Path) -> list[bool]:
    """Returns for each call that changes a file whether it writes, so that it can be cut in half."""
    shim().shim_arm(-1, BEFORE)
    operation.run(work)
    return [bool(shim().shim_is_write(call)) for call in range(1, shim().shim_disarm() + 1)]


def check(operation: Any, work: Path, old: Any, new: Any, clean: list[str]) -> None:
    seen = operation.read(work)
    assert operation.accepts(seen, old, new), f"a reader sees neither the old nor the new: {seen}"
    operation.run(work)
    seen = operation.read(work)
    assert operation.ends(seen, new), f"the next run made something else: {seen}"
    left = [name for name in listing(work) if name not in clean and not operation.may_stay(name)]
    assert not left, f"leftovers: {left}"


def points_of(calls: list[bool]) -> list[tuple[int, int]]:
    """Returns every call before which, and every write within which, the process may end."""
    return [(call, how) for call, writes in enumerate(calls, 1) for how in (BEFORE, WITHIN)[: 1 + writes]]


def chosen(every: list[tuple[int, int]], points: str) -> list[tuple[int, int]]:
    """Returns all points, or so many of them, spread evenly."""
    if points == "all":
        return every
    step = max(1.0, len(every) / int(points))
    return [every[int(position * step)] for position in range(min(int(points), len(every)))]


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def killed(work: Callable[[], object], folder: Path) -> bool:
    """Runs a function in a child that is expected to be cut off; tells whether it was."""
    status = fork(work, folder, os.open(os.devnull, os.O_WRONLY))
    assert status in (0, KILLED), f"the run ended with {status}"
    return status == KILLED


def in_child(work: Callable[[], Any], folder: Path) -> Any:
    """Runs a function in a child; returns its result, or raises what it asserted."""
    reading, writing = os.pipe()
    status = fork(work, folder, writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    assert status == 0, told
    return json.loads(told)


def fork(work: Callable[[], Any], folder: Path, told: int) -> int:
    child = os.fork()
    if child:
        os.close(told)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        tempfile.tempdir = str(temporary)
        result = json.dumps(work())
    except BaseException:
        shim().shim_disarm()
        os.write(told, traceback.format_exc(limit=-4).encode()[-2000:])
        os._exit(1)
    os.write(told, result.encode())
    os._exit(0)


def shim() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.shim_arm.argtypes = [ctypes.c_long, ctypes.c_int]
    library.shim_disarm.restype = ctypes.c_long
    return library


if __name__ == "__main__":
    sys.stdout.write(json.dumps(drive(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
