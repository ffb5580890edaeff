"""Compares what a network learns from frames that `run --collect` keeps with what it learns from random ones.

    python bench/collect.py CHECKPOINT --data SPEC --out DIR [--split test] [--kept 20] [--random 40] [--seeds 0 1 2]

The first two thirds of the split are the drive, the last third is what is scored. Of the drive, a collection keeps 20
frames and a draw per seed 40; the checkpoint is fine-tuned on the labels of each for equally many steps, with the same
seed, and the mIoU on the last third is told. Nothing is chosen by it. What DIR holds is not made again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml

from jetseg.camera.contract import SourceFrame
from jetseg.camera.sinks.collect import Collection, RatedResult
from jetseg.data.contract import Sample, Split
from jetseg.data.dataset import open_split
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.evaluation.evidence import frame_evidence
from jetseg.evaluation.profile import scores_of
from jetseg.evaluation.signals import SignalMeter
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.statistics import LoopStatistics
from jetseg.monitor.worth import WorthMeter
from jetseg.postprocess import class_map
from jetseg.preprocess import Preprocessor
from jetseg.provenance import device_name, toolchain
from jetseg.workflows.opening import open_engine
from jetseg.workflows.training import train


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    whole = open_split(options.data, options.split)
    border = 2 * len(whole) // 3
    drive, rest = Part(whole, range(border)), Part(whole, range(border, len(whole)))
    kept = _recorded(options.out / "kept.json", lambda: collected(options, drive))
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        drawn = sorted(random.Random(seed).sample(range(border), options.random))
        for name, chosen in (("collected", kept), ("random", drawn)):
            place = options.out / f"{name}-{seed}"
            tuned = _recorded(place.with_suffix(".json"), lambda: fine_tuned(options, drive, chosen, seed, place, rest))  # noqa: B023
            rows.append({"seed": seed, "frames": name, "count": len(chosen), "miou": tuned})
    before = _recorded(options.out / "before.json", lambda: score(options.checkpoint, rest))
    print(json.dumps({"before": before, "rows": rows, "device": device_name(), "toolchain": toolchain()}, indent=2))
    for name in ("collected", "random"):
        gains = [row["miou"] - before for row in rows if row["frames"] == name]
        print(f"{name}: {', '.join(f'{gain:+.2f}' for gain in gains)}; mean {statistics.mean(gains):+.2f}")


class Part:
    """Some frames of a split; a `Split`."""

    def __init__(self, whole: Split, indices: Sequence[int]) -> None:
        self.spec, self.split, self.classes = whole.spec, whole.split, whole.classes
        self.palette, self.ignore_index = whole.palette, whole.ignore_index
        self._whole, self._indices = whole, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._indices[index]]


def collected(options: argparse.Namespace, drive: Part) -> list[int]:
    """Drives through the frames, and returns the numbers of those that are kept."""
    with open_engine(options.checkpoint, threads=1) as engine:
        manifest = engine.manifest
        meter, worth = SignalMeter(manifest.num_classes), WorthMeter(manifest)
        preprocess, statistics_ = Preprocessor(manifest.input), LoopStatistics(EngineSpeed(1.0, 1, outputs_stay=True))
        collection = Collection(options.out / "collection", 1 << 40, manifest, most=options.kept)
        for index in range(len(drive)):
            image = drive[index].image_hwc_u8
            output = engine.infer(preprocess(image))
            ids, scores = class_map(output, manifest), scores_of(output, manifest)
            evidence = frame_evidence(ids, scores, manifest.num_classes)
            frame = SourceFrame(index, str(index), 0.0, image, None)
            found = worth.measure(meter.measure(image, ids, scores), evidence)
            collection.write(RatedResult(frame, ids, 0.0, None, statistics_, found))
        collection.close()
    told = [json.loads(path.read_text()) for path in (options.out / "collection" / "reasons").iterdir()]
    return sorted(int(reasons["frame"]) for reasons in told)


def fine_tuned(
    options: argparse.Namespace, drive: Part, chosen: Sequence[int], seed: int, place: Path, rest: Part
) -> float:
    """Fine-tunes on the labels of some frames; returns mIoU on the rest."""
    data = place / "data"
    for folder in ("images", "labels"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    about = {"classes": list(drive.classes)}
    about |= {} if drive.ignore_index is None else {"ignore_index": drive.ignore_index}
    (data / "classes.yaml").write_text(yaml.safe_dump(about))
    for index in chosen:
        sample = drive[index]
        cv2.imwrite(str(data / "images" / f"{index:06d}.png"), sample.image_hwc_u8)
        cv2.imwrite(str(data / "labels" / f"{index:06d}.png"), sample.label_hw_u8)
    epochs = max(1, round(options.steps * options.batch_size / len(chosen)))
    train(
        data=f"folder:{data}",
        split="all",
        eval_split="all",
        init=options.checkpoint,
        out=place / "run",
        epochs=epochs,
        validate_every=epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        seed=seed,
    )
    return score(place / "run" / "last.safetensors", rest)


def score(checkpoint: Path, rest: Part) -> float:
    with open_engine(checkpoint, threads=1) as engine:
        return float(measure_accuracy(engine.segment, engine.manifest, rest).miou or 0.0)


def _recorded(place: Path, make: Callable[[], Any]) -> Any:
    if not place.exists():
        place.write_text(json.dumps(make()))
    return json.loads(place.read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", required=True, help="dataset with labels")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kept", type=int, default=20, help="frames that the collection may hold")
    parser.add_argument("--random", type=int, default=40, help="frames that are drawn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150, help="of a fine-tuning")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
