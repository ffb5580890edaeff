"""Compares the estimate of accuracy without labels with the truth, on corruptions that it was not fitted to.

    python bench/estimate.py ENGINE --parent NETWORK.onnx --data camvid:DIR --cache FOLDER [--json]

The estimator is fitted anew on frames of the train split, clean and under the corruptions of jetseg, as a build does;
nothing else is. It is tried on other splits, clean and under ten other corruptions, on windows of 30 frames, and on the
synthetic drive. Every file in the cache is one condition: what a killed run has is not measured again, and what is not
measured yet is left out of the figures. Baselines are brought to mIoU by a straight line fitted to the same windows:
mean confidence; ATC (Garg et al. 2022), the share of pixels surer than a threshold that makes it right on the clean
train frames; and the mIoU of the engine against its parent on every tenth frame.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from unseen_corruptions import UNSEEN, corrupt_unseen

from jetseg.data.corruptions import corrupt
from jetseg.data.dataset import open_split
from jetseg.engine.engine import Engine
from jetseg.evaluation.confusion import ConfusionMatrix, Score
from jetseg.evaluation.estimator import EstimatingModel
from jetseg.evaluation.estimator_fit import KnownWindow, fit_estimator
from jetseg.evaluation.evidence import frame_evidence, joined
from jetseg.evaluation.learning import CLEAN, FRAMES, NO_CHANNEL, WINDOW, known_conditions, picked_runs
from jetseg.evaluation.profile import scores_of
from jetseg.evaluation.signals import on_grid
from jetseg.evaluation.temperature import fit_temperature
from jetseg.manifest import Manifest
from jetseg.measured import Estimator
from jetseg.postprocess import class_map, confident_scores, resize_class_map
from jetseg.preprocess import Preprocessor, resize_frame
from jetseg.provenance import device_name, toolchain
from jetseg.workflows.opening import open_engine

SHADOW_EVERY = 10
MAP_SIZE = 90, 120
OTHER_NAMES = {"vegetation": "tree", "lane marking": "road"}
SEEDS = {"val": 5000, "test": 9000}


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    with open_engine(options.engine, threads=1) as engine:
        if not options.evaluate_only:
            parent = open_engine(options.parent, manifest=options.parent_manifest, threads=1)
            with parent:
                for part in options.parts:
                    measure(part, options, engine, parent)
        result = evaluate(options.cache, engine.manifest)
    result |= {"engine": options.engine.name, "device": device_name(), "toolchain": toolchain()}
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)


class Condition(NamedTuple):
    """Frames of a split under one corruption."""

    key: str
    indices: Sequence[int]
    alter: Callable[[np.ndarray, int], np.ndarray]


def measure(part: str, options: argparse.Namespace, engine: Engine, parent: Engine) -> None:
    """Measures what is not in the cache yet."""
    name, spec, split, first, last = part_of(part, options.data)
    dataset, size = open_split(spec, split), engine.manifest.input
    frames: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for condition in conditions(name, len(dataset), range(first, last)):
        place = options.cache / f"{condition.key}.npz"
        if place.exists():
            continue
        for index in condition.indices:
            if index not in frames:
                sample, known = dataset[index], engine.manifest.classes
                label = as_classes(sample.label_hw_u8, dataset.classes, known)
                frames[index] = resize_frame(sample.image_hwc_u8, size.height, size.width), label
        altered = [(condition.alter(frames[index][0], index), frames[index][1]) for index in condition.indices]
        draft = place.with_suffix(".part.npz")
        np.savez(draft, N=np.array(condition.indices), **look(altered, engine.manifest.ignore_index, engine, parent))
        draft.replace(place)
        print(place.name, len(condition.indices), flush=True)


def as_classes(label: np.ndarray, classes: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Brings labels of the drive to the ids of CamVid, by name."""
    if tuple(classes) == tuple(wanted):
        return label
    names = [OTHER_NAMES.get(name, name) for name in classes]
    return np.array([wanted.index(name) for name in names], np.uint8)[label]


def part_of(part: str, data: str) -> tuple[str, str, str, int, int]:
    """Reads NAME:FIRST:LAST; returns name, dataset, split and the frames."""
    name, first, last = part.split(":")
    spec, split = {"fit": (data, "train"), "drive": ("synthetic:120", "test")}.get(name, (data, name))
    return name, spec, split, int(first), int(last)


def conditions(name: str, length: int, chosen: range) -> Iterator[Condition]:
    """Yields what is looked at: of the split that is fitted to, just what a build looks at."""
    if name == "fit":
        runs = picked_runs(length, len(chosen))
        yield Condition("fit_clean", [index for run in runs for index in run], lambda image, _: image)
        for run, kind, severity in known_conditions(runs):
            if kind != CLEAN:
                yield Condition(f"fit_{kind}_{severity}", run, _known(kind, severity))
        return
    yield Condition(f"{name}_clean", chosen, lambda image, _: image)
    for severity in (2, 3, 1) if name != "drive" else ():
        for kind in UNSEEN:
            yield Condition(f"{name}_{kind}_{severity}", chosen, _unseen(kind, severity, SEEDS[name]))


def _known(kind: str, severity: int) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda image, index: corrupt(image, kind, severity, index)


def _unseen(kind: str, severity: int, seed: int) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda image, index: corrupt_unseen(image, kind, severity, index + seed)


def look(
    frames: Sequence[tuple[np.ndarray, np.ndarray]], ignored: int | None, engine: Engine, parent: Engine
) -> dict[str, np.ndarray]:
    """Returns per frame the scores and labels on a grid, a small class map and confusion."""
    manifest, preprocess = engine.manifest, Preprocessor(engine.manifest.input)
    found: dict[str, list[np.ndarray]] = {key: [] for key in ("L", "LG", "I", "C", "SH")}
    for number, (image, label) in enumerate(frames):
        output = np.asarray(engine.infer(preprocess(image)))
        ids, scores = class_map(output, manifest), scores_of(output, manifest)
        found["L"].append(np.asarray(scores, dtype=np.float16))
        found["LG"].append(on_grid(resize_class_map(label, *output.shape[2:])).ravel())
        found["I"].append(resize_class_map(ids, *MAP_SIZE))
        found["C"].append(_confusion(label, resize_class_map(ids, *label.shape), manifest, ignored))
        if number % SHADOW_EVERY == 0:
            wanted = resize_class_map(parent.segment(image), *ids.shape)
            found["SH"].append(_confusion(wanted, ids, manifest, manifest.num_classes))
    return {key: np.array(values) for key, values in found.items()}


def _confusion(label: np.ndarray, ids: np.ndarray, manifest: Manifest, ignored: int | None) -> np.ndarray:
    matrix = ConfusionMatrix(manifest.classes, ignored)
    matrix.update(label, ids)
    return matrix.counts


class Tried(NamedTuple):
    """A window, and what baselines go by."""

    key: str
    window: KnownWindow
    confidence: float
    sure_share: float
    shadow: float


def evaluate(cache: Path, manifest: Manifest) -> dict[str, Any]:
    """Fits to what there is of the fitted split, and tells for each other one how far the estimates are off."""
    clean = np.load(cache / "fit_clean.npz")
    labels = np.where(clean["LG"] >= manifest.num_classes, NO_CHANNEL, clean["LG"])
    temperature = fit_temperature(list(clean["L"]), list(labels))
    threshold = atc_threshold(clean["L"], labels, temperature)
    places = [place for place in sorted(cache.glob("*.npz")) if not place.name.endswith(".part.npz")]
    tried = [found for place in places for found in windows_of(place, manifest, temperature, threshold)]
    known = [found for found in tried if found.key.startswith("fit_")]
    estimator, model = _fitted(known, manifest, temperature)
    rows = []
    for part in ("val", "test", "drive"):
        for corrupted in (False, True):
            own = [w for w in tried if w.key.startswith(f"{part}_") and (w.window.kind != CLEAN) == corrupted]
            if own:
                rows += figures(f"{part}, {'corrupted' if corrupted else 'clean'}", own, known, model)
    for output in ("class map and confidence", "class map alone"):
        less = [found for place in places for found in windows_of(place, manifest, 1.0, threshold, output)]
        other = _fitted([found for found in less if found.key.startswith("fit_")], manifest, 1.0)[1]
        for part in ("val", "test"):
            own = [w for w in less if w.key.startswith(f"{part}_") and w.window.kind != CLEAN]
            if own:
                rows.append(next(figures(f"{part}, corrupted", own, known, other)) | {"by": f"estimate, {output}"})
    classes = class_figures([w for w in tried if re.match("(val|test)_", w.key)], model)
    left_out = {"mean_error": estimator.mean_error, "miou_error": estimator.miou_error, "windows": len(known)}
    return {"rows": rows, "classes": classes, "left_out": left_out, "temperature": round(temperature, 3)}


def _fitted(known: Sequence[Tried], manifest: Manifest, temperature: float) -> tuple[Estimator, EstimatingModel]:
    windows, classes = [found.window for found in known], manifest.classes
    found = fit_estimator(windows, classes, data="camvid", split="train", target="labels", temperature=temperature)
    return found, EstimatingModel(found, classes)


def windows_of(
    place: Path, manifest: Manifest, temperature: float, threshold: float, output: str = "logits"
) -> Iterator[Tried]:
    """Yields the windows of one condition, as a network with logits or with less would show them."""
    found, classes = np.load(place), manifest.num_classes
    _, kind, *_ = place.stem.split("_")
    for start in range(0, len(found["C"]) - WINDOW + 1, WINDOW):
        own = slice(start, start + WINDOW)
        parts = []
        for ids, scores in zip(found["I"][own], found["L"][own], strict=True):
            part = frame_evidence(ids, _shown(scores, output, classes), classes, temperature)
            parts.append(part.without_scores() if output == "class map alone" else part)
        evidence = joined(parts)
        best = np.concatenate([_winning(scores, temperature) for scores in found["L"][own]])
        shadow = found["SH"][start // SHADOW_EVERY : (start + WINDOW) // SHADOW_EVERY].sum(axis=0)
        window = KnownWindow(kind, int(found["N"][start]), evidence, _score(found["C"][own].sum(axis=0), manifest))
        yield Tried(
            place.stem, window, float(best.mean()), float((best > threshold).mean()), _score(shadow, manifest).miou
        )


def _shown(scores: np.ndarray, output: str, classes: int) -> np.ndarray:
    """Returns the scores that are left of logits in an output with less."""
    if output == "logits":
        return scores
    sure = np.rint(255 * _winning(scores, 1.0)).astype(np.uint8)
    ids = np.minimum(scores.argmax(axis=0), classes).astype(np.uint8)
    return confident_scores(np.stack([ids, sure]), classes)


def atc_threshold(scores: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Returns the confidence that as many labelled pixels are above as are right."""
    best, right = [], []
    for frame, wanted in zip(scores, labels, strict=True):
        known = wanted < len(frame)
        best.append(_winning(frame, temperature)[known])
        right.append(frame.argmax(axis=0)[known] == wanted[known])
    return float(np.quantile(np.concatenate(best), 1 - np.concatenate(right).mean()))


def _winning(scores: np.ndarray, temperature: float) -> np.ndarray:
    scaled = scores.astype(np.float32) / temperature
    return 1 / np.exp(scaled - scaled.max(axis=0)).sum(axis=0)


def _score(counts: np.ndarray, manifest: Manifest) -> Score:
    matrix = ConfusionMatrix(manifest.classes, manifest.ignore_index)
    matrix.counts = counts
    return matrix.score()


def figures(
    title: str, tried: Sequence[Tried], known: Sequence[Tried], model: EstimatingModel
) -> Iterator[dict[str, Any]]:
    """Yields a row for the estimate, and one for each baseline."""
    truth = np.array([found.window.score.miou for found in tried])
    estimates = [model.estimate(found.window.evidence) for found in tried]
    low, high = (np.array([getattr(found.miou, end) for found in estimates]) for end in ("low", "high"))
    row = _row(title, "estimate", truth, np.array([found.miou.value for found in estimates]))
    row |= {"coverage": round(float(np.mean((low <= truth) & (truth <= high))), 3)}
    row |= {"width": round(float((high - low).mean()), 1)}
    yield row | {"distance": round(float(np.median([found.distance for found in estimates])), 2)}
    fitted = np.array([found.window.score.miou for found in known])
    for name in ("confidence", "sure_share", "shadow"):
        slope, start = np.polyfit([getattr(found, name) for found in known], fitted, 1)
        yield _row(title, name, truth, start + slope * np.array([getattr(found, name) for found in tried]))


def _row(title: str, name: str, truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    several = len(set(truth)) > 2 and len(set(found)) > 1
    return {
        "part": title,
        "by": name,
        "windows": len(truth),
        "true_miou": round(float(truth.mean()), 1),
        "mean_error": round(float(np.abs(found - truth).mean()), 2),
        "bias": round(float((found - truth).mean()), 2),
        "rank_correlation": round(_rank_correlation(truth, found), 3) if several else None,
    }


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def class_figures(tried: Sequence[Tried], model: EstimatingModel) -> dict[str, dict[str, float]]:
    """Returns for each class the mean error of its IoU and how often the interval holds it."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for one in tried:
        for name, estimate in model.estimate(one.window.evidence).per_class_iou.items():
            true = one.window.score.per_class_iou[name]
            if estimate is not None and true is not None:
                inside = estimate.low <= true <= estimate.high
                found.setdefault(name, []).append((abs(estimate.value - true), inside))
    return {
        name: {
            "windows": len(pairs),
            "mean_error": round(float(np.mean([error for error, _ in pairs])), 1),
            "coverage": round(float(np.mean([inside for _, inside in pairs])), 3),
        }
        for name, pairs in found.items()
    }


def _print(result: dict[str, Any]) -> None:
    console, columns = Console(), ("part", "by", "windows", "true_miou", "mean_error", "bias", "rank_correlation")
    table = Table(*columns, "coverage", "width", "distance")
    for row in result["rows"]:
        table.add_row(*(str(row.get(name, "")) for name in (*columns, "coverage", "width", "distance")))
    console.print(table)
    for name in ("classes", "left_out", "temperature"):
        console.print(name, result[name], highlight=False)
    console.print(f"{result['engine']} on {result['device']}", style="dim", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path)
    parser.add_argument("--parent", type=Path, required=True, help="float network that the engine was made from")
    parser.add_argument("--parent-manifest", type=Path, help="where it has none beside it")
    parser.add_argument("--data", required=True, help="dataset spec with the splits train, val and test")
    parser.add_argument("--cache", type=Path, required=True, help="folder in which what was measured is kept")
    parts = [f"fit:0:{FRAMES}", "val:35:65", "test:0:60", "drive:0:60"]
    parser.add_argument("--parts", nargs="+", default=parts, help="SPLIT:FIRST:LAST; of fit that many are picked")
    parser.add_argument("--evaluate-only", action="store_true", help="measure nothing that is not in the cache yet")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
