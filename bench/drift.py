"""Shows which drift events come, and how soon, on clean, disturbed and foreign frames.

    python bench/drift.py ENGINE --data camvid:DIR [--video FILE] [--hours 1] [--json]
    python bench/drift.py ENGINE --data camvid:DIR --shadow REFERENCE [--damaged ENGINE]

Frames come at 25 per second of video. A disturbed replay begins with clean frames, and the time counts from the
first disturbed one; the foreign video is also shown from its first frame on. Clean frames are replayed for
`--hours` in two ways: in recorded order in runs of one to five seconds, forward and backward, and "as driven",
each frame shown for a second as its sequence was labelled once a second. Every clean frame has a twin with
slightly other exposure, noise and position, and the replay alternates at random; the engine answers every twin.
The bounds come from the engine's manifest alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from jetseg.data.dataset import open_split
from jetseg.engine.backend import Runner
from jetseg.evaluation.profile import scores_of
from jetseg.monitor.drift import DriftMonitor
from jetseg.monitor.shadow import ShadowMonitor
from jetseg.postprocess import class_map
from jetseg.preprocess import Preprocessor
from jetseg.provenance import device_name, toolchain
from jetseg.workflows.opening import open_engine

FRAMES_PER_SECOND = 25
CLEAN_FRAMES = 50
DISTURBED_FRAMES = 75


class Answered(NamedTuple):
    """A frame and what the engine made of it."""

    image: np.ndarray
    ids: np.ndarray
    scores: np.ndarray | None


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    if options.shadow is not None:
        result: dict[str, Any] = {"shadow": list(shadow_rows(options))}
    else:
        result = measure_drift(options)
    result |= {"engine": options.engine.name, "device": device_name(), "toolchain": toolchain()}
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)


def measure_drift(options: argparse.Namespace) -> dict[str, Any]:
    """Returns a row per replay, false alarms per hour of clean replay, and the cost per frame."""
    runner = open_engine(options.engine, threads=options.threads)
    answer = Answerer(runner)
    clean = {split: frames_of(options.data, split) for split in options.splits}
    answered = {split: [answer(image) for image in images] for split, images in clean.items()}
    twins = {
        split: [answer(jitter(image, seed)) for seed, image in enumerate(images)] for split, images in clean.items()
    }
    rows = [{"replay": f"{split}, clean", "events": events_of(runner, found)} for split, found in answered.items()]
    split = options.splits[0]
    before = take(answered[split], CLEAN_FRAMES)
    for name, disturb in DISTURBANCES.items():
        found = [answer(disturb(image)) for image in clean[split]]
        rows.append({"replay": f"{split}, {name}", "events": events_of(runner, before, take(found, DISTURBED_FRAMES))})
    rows.append({"replay": f"{split}, frozen", "events": events_of(runner, before, [before[-1]] * DISTURBED_FRAMES)})
    wrong = [flip(found, index) for index, found in enumerate(take(twins[split][:1], DISTURBED_FRAMES))]
    rows.append({"replay": f"{split}, answers flicker", "events": events_of(runner, before, wrong)})
    if options.video is not None:
        video = [answer(image) for image in video_frames(options.video, DISTURBED_FRAMES)]
        rows.append({"replay": f"{options.video.name}, from its start", "events": events_of(runner, video)})
        rows.append({"replay": f"{options.video.name}, after {split}", "events": events_of(runner, before, video)})
    hours = {}
    for split in options.splits:
        for name, order in (("recorded order", runs), ("as driven", held)):
            replay = order(answered[split], twins[split], np.random.default_rng(0))
            hours[f"{split}, {name}"] = false_alarms(runner, replay, options.hours)
    return {"rows": rows, "false_alarms": hours, "monitor_ms": monitor_ms(runner, answered[split])}


class Answerer:
    """Frame in, frame with class map and scores out."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._preprocess = Preprocessor(runner.manifest.input)

    def __call__(self, image: np.ndarray) -> Answered:
        """Answers one frame."""
        output = np.asarray(self._runner.infer(self._preprocess(image)))
        manifest = self._runner.manifest
        return Answered(image, class_map(output, manifest), scores_of(output, manifest))


def new_monitor(runner: Runner) -> DriftMonitor:
    if runner.manifest.profile is None:
        raise SystemExit("The engine has no profile; `jetseg baseline ENGINE --data SPEC` measures one.")
    return DriftMonitor(runner.manifest.profile, runner.manifest)


def events_of(runner: Runner, *parts: Sequence[Answered]) -> list[dict[str, Any]]:
    """Returns the alarms of a replay with their time in seconds of video since its last part began."""
    monitor, start = new_monitor(runner), sum(map(len, parts[:-1]))
    events = []
    for index, found in enumerate(chain.from_iterable(parts)):
        for notice in monitor.add(index / FRAMES_PER_SECOND, *found):
            if notice.severity == "alarm":
                after_s = (index + 1 - start) / FRAMES_PER_SECOND
                events.append({"event": notice.kind, "after_s": round(after_s, 2), "text": notice.text})
    return events


def false_alarms(runner: Runner, replay: Iterable[Answered], hours: float) -> dict[str, Any]:
    """Replays clean frames for some hours of video; returns the alarms per hour, by kind."""
    monitor, counts = new_monitor(runner), Counter[str]()
    for index, found in enumerate(islice(replay, round(hours * 3600 * FRAMES_PER_SECOND))):
        counts.update(n.kind for n in monitor.add(index / FRAMES_PER_SECOND, *found) if n.severity == "alarm")
    return {kind: round(count / hours, 2) for kind, count in counts.items()}


def runs(plain: Sequence[Answered], twins: Sequence[Answered], rng: np.random.Generator) -> Iterator[Answered]:
    """Endless runs of one to five seconds in recorded order, forward or backward, from random places."""
    while True:
        length, start = rng.integers(FRAMES_PER_SECOND, 5 * FRAMES_PER_SECOND), rng.integers(len(plain))
        step = rng.choice([-1, 1])
        for offset in range(length):
            yield (plain, twins)[rng.integers(2)][(start + step * offset) % len(plain)]


def held(plain: Sequence[Answered], twins: Sequence[Answered], rng: np.random.Generator) -> Iterator[Answered]:
    """The sequence in its own time, each frame for a second, over and over."""
    while True:
        for pair in zip(plain, twins, strict=True):
            for _ in range(FRAMES_PER_SECOND):
                yield pair[rng.integers(2)]


def jitter(image: np.ndarray, seed: int) -> np.ndarray:
    """Gives a frame 4 % more or less exposure, noise of 2 levels, and moves it by a pixel."""
    rng = np.random.default_rng(seed)
    moved = np.roll(image, rng.integers(-1, 2, 2), axis=(0, 1)).astype(np.float32)
    return np.clip(moved * rng.uniform(0.96, 1.04) + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


DISTURBANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "darkened to 15 %": lambda image: (0.15 * image).astype(np.uint8),
    "blurred, sigma 4": lambda image: cv2.GaussianBlur(image, (0, 0), 4.0),
    "red and blue swapped": lambda image: np.ascontiguousarray(image[..., ::-1]),
    "16 times exposed": lambda image: np.minimum(16.0 * image, 255).astype(np.uint8),
}


def flip(found: Answered, index: int) -> Answered:
    """Answers every other frame with the next class."""
    noisy = jitter(found.image, index)
    return Answered(noisy, (found.ids + index % 2).astype(np.uint8), found.scores)


def shadow_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compares the engine, and the damaged one, with the reference on the first split."""
    images = frames_of(options.data, options.splits[0])
    for engine in filter(None, (options.engine, options.damaged)):
        runner, reference = (open_engine(path, threads=options.threads) for path in (engine, options.shadow))
        shadow = ShadowMonitor(reference.segment, runner.manifest, every=1)
        notices, first = [], None
        for index, image in enumerate(images, start=1):
            notices += shadow.offer(image, runner.segment(image))
            while shadow.state().compared < index and not notices:
                time.sleep(0.005)
            first = index if notices and first is None else first
        notices += shadow.close()
        state = shadow.state()
        yield {
            "engine": engine.name,
            "agreement_miou": state.agreement_miou,
            "recent_miou": state.recent_miou,
            "bound": state.bound,
            "events": [notice.kind for notice in notices],
            "first_after_frames": first,
        }


def monitor_ms(runner: Runner, answered: Sequence[Answered]) -> float:
    """Returns the processor time that the monitor takes per frame, in milliseconds, the best of five rounds."""
    monitor, best, moment = new_monitor(runner), float("inf"), 0.0
    for _ in range(5):
        started = time.thread_time()
        for found in answered:
            moment += 1 / FRAMES_PER_SECOND
            monitor.add(moment, *found)
        best = min(best, (time.thread_time() - started) / len(answered))
    return round(1e3 * best, 3)


def take(found: Sequence[Answered], count: int) -> list[Answered]:
    """Returns that many items, from the start again where there are fewer."""
    return [found[index % len(found)] for index in range(count)]


def frames_of(spec: str, split: str) -> list[np.ndarray]:
    dataset = open_split(spec, split)
    return [dataset[index].image_hwc_u8 for index in range(len(dataset))]


def video_frames(path: Path, count: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = [image for good, image in (capture.read() for _ in range(count)) if good]
    capture.release()
    return found


def _print(result: dict[str, Any]) -> None:
    console = Console()
    for row in result.get("shadow", ()):
        console.print(row, highlight=False)
    if "rows" in result:
        table = Table("replay", "event", "after, s of video")
        for row in result["rows"]:
            for position, event in enumerate(row["events"] or [{"event": "none", "after_s": ""}]):
                table.add_row("" if position else row["replay"], event["event"], str(event["after_s"]))
        console.print(table)
        for name, counts in result["false_alarms"].items():
            listed = ", ".join(f"{kind} {count}" for kind, count in counts.items())
            console.print(f"false alarms per hour, {name}: {listed or 'none'}", highlight=False)
        console.print(f"monitor: {result['monitor_ms']} ms of processor time per frame", highlight=False)
    console.print(f"{result['engine']} on {result['device']}", style="dim", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path, help="engine whose manifest has a profile")
    parser.add_argument("--data", required=True, help="dataset spec of clean frames")
    parser.add_argument("--splits", nargs="+", default=["test", "val"], help="the first one is also disturbed")
    parser.add_argument("--video", type=Path, help="video of another domain")
    parser.add_argument("--hours", type=float, default=1.0, help="of each clean replay")
    parser.add_argument("--shadow", type=Path, help="compare the engine with this reference instead")
    parser.add_argument("--damaged", type=Path, help="an engine that must raise the shadow's alarm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
