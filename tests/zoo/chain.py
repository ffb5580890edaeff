"""Runs the whole chain on every network of the zoo: `python -m zoo.chain` (`make zoo`).

Each step is a process of its own, forked from one that has imported the libraries, with bounds of time and memory. It
leaves a record; what has a record is not run again, so that an interrupted run goes on. Exit code 70, a signal, a bound
that is passed, a refusal without a sentence, and an output that is not what the library's own network gives are faults,
and the run ends with code 1; a refusal with a sentence is a result.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import runpy
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import yaml

from jetseg.data.synthetic import CLASSES
from zoo import networks, table
from zoo.steps import MANIFEST, Step, steps_of

MEMORY_BYTES = 4 << 30
_PROCESSES = multiprocessing.get_context("forkserver")
_OUTCOMES = {0: "done", 1: "not good enough", 2: "refused", 3: "missing", 70: "internal error"}
_RESULTS = frozenset({"done", "not good enough", "refused", "missing", "not reached"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"), help="folder of networks and records")
    parser.add_argument("--page", type=Path, help="Markdown page to write")
    parser.add_argument("--networks", nargs="*", default=list(networks.NAMES), help="only these")
    parser.add_argument("--steps", nargs="*", help="only these")
    parser.add_argument("--again", nargs="*", default=(), help="steps to run again although they have a record")
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time, until speed is measured")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of the time bounds, on a busy machine")
    given = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "400"}
    _PROCESSES.set_forkserver_preload(["zoo.preload"])
    given.out = given.out.resolve()
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda name: _network(name, given, timed=False), given.networks))
    for name in given.networks:
        _network(name, given, timed=True)
    found = {name: records(given.out / name) for name in networks.NAMES}
    (given.out / "zoo.json").write_text(json.dumps(found, indent=1) + "\n")
    if given.page:
        given.page.write_text(table.page(found, table.versions()))
    faults = [(name, step) for name, steps in found.items() for step, record in steps.items() if is_fault(record)]
    for name, step in faults:
        print(f"FAULT {name}, {step}: {found[name][step]['sentence']}")
    return 1 if faults else 0


def _network(name: str, given: argparse.Namespace, *, timed: bool) -> None:
    """Takes a network through the steps that measure speed, which run alone, or through all others."""
    folder, order = given.out / name, given.networks.index(name) + 1
    for step in steps_of(name):
        if step.timed == timed and (given.steps is None or step.name in given.steps):
            record = _record(folder, step, again=step.name in given.again, patience=given.patience)
            print(f"{order}/{len(given.networks)} {name}: {told(step, record)}", file=sys.stderr, flush=True)


def is_fault(record: dict[str, Any]) -> bool:
    return record["outcome"] not in _RESULTS


def outcome_of(step: Step, folder: Path, code: int, said: str) -> str:
    """Returns how a step ended, from its exit code, the file that it should have made and what it said on stderr."""
    if code < 0:
        return "killed by a signal"
    if code == 0 and step.makes is not None and not (folder / step.makes).exists():
        return "wrong"  # says that it is done, and left nothing
    if code == 1 and step.command[0].startswith("zoo."):
        return "wrong"
    if code in (1, 2, 3) and not said:
        return "silent"
    return _OUTCOMES.get(code, f"exit code {code}")


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the records of a network's steps, in their order."""
    paths = ((step.name, folder / f"{step.name}.record.json") for step in steps_of(folder.name))
    return {name: json.loads(path.read_text()) for name, path in paths if path.is_file()}


def told(step: Step, record: dict[str, Any]) -> str:
    text = f"{step.name} {record['outcome']}, {record['seconds']:.0f} s, {record['peak_bytes'] / 1e9:.2f} GB"
    return text if record["outcome"] == "done" else f"{text}: {record['sentence']}"


def _record(folder: Path, step: Step, *, again: bool, patience: float) -> dict[str, Any]:
    path = folder / f"{step.name}.record.json"
    if path.is_file() and not again:
        return dict(json.loads(path.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(yaml.safe_dump(_manifest()))
    if step.needs is not None and not (folder / step.needs).exists():
        return {"outcome": "not reached", "seconds": 0.0, "peak_bytes": 0, "sentence": f"there is no {step.needs}"}
    record = _run(folder, step, step.seconds * patience)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return record


def _manifest() -> dict[str, Any]:
    spec = {"height": networks.HEIGHT, "width": networks.WIDTH, "color": "rgb", "scale": 1 / 255}
    ends = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return {"input": {**spec, **ends}, "outputs": [{"kind": "logits", "classes": list(CLASSES)}]}


def _run(folder: Path, step: Step, seconds: float) -> dict[str, Any]:
    _remove(folder, step)
    printed, said = folder / f"{step.name}.out", folder / f"{step.name}.err"
    started, peak, outcome = time.perf_counter(), 0, None
    process = _PROCESSES.Process(target=run_step, args=(step.command, folder, printed, said), daemon=True)
    process.start()
    while process.exitcode is None:
        process.join(0.1)
        peak = max(peak, _resident(process.pid))
        if time.perf_counter() - started > seconds:
            outcome = "took too long"
        elif peak > MEMORY_BYTES:
            outcome = "took too much memory"
        if outcome:
            process.kill()
            process.join()
    sentence = _sentence(said.read_text())
    return {
        "outcome": outcome or outcome_of(step, folder, process.exitcode, sentence),
        "exit": process.exitcode,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_bytes": peak,
        "sentence": sentence,
        "result": _result(printed.read_text()),
    }


def run_step(command: tuple[str, ...], folder: Path, printed: Path, said: Path) -> None:
    """Runs `python -m` with these words, in this process."""
    for path, descriptor in ((printed, 1), (said, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    sys.argv = list(command)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _remove(folder: Path, step: Step) -> None:
    if step.makes is None:
        return
    for path in (folder / step.makes, folder / f"{step.makes}.json"):
        path.unlink(missing_ok=True)
    if "/" in step.makes:
        shutil.rmtree((folder / step.makes).parent, ignore_errors=True)


def _resident(process: int | None) -> int:
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return 0


def _sentence(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and "━" not in line]
    errors = [line for line in lines if line.startswith(("Error", "Internal", "error"))]
    return " ".join(lines[lines.index(errors[-1]) :] if errors else lines[-1:])[:600]


def _result(printed: str) -> Any:
    try:
        return json.loads(printed)
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
