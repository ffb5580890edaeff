"""One frame's mIoU update against torchmetrics: same counts, at least ten times as fast.

Run it with `python bench/miou_update.py`; it prints one JSON object and exits 1 if either does not hold.
Labels and predictions are 19 classes at 512 x 1024 with about a tenth of the pixels ignored. Both run on one
thread, in alternated turns, torchmetrics at its defaults and with its own validation turned off.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import torch

from jetseg.evaluation.benchmark import benchmark
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.provenance import device_name, toolchain

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchmetrics.classification import MulticlassJaccardIndex

CLASSES, HEIGHT, WIDTH, IGNORED = 19, 512, 1024, 255
LEAST_RATIO = 10.0
ROUNDS, SECONDS = 7, 0.5


def main() -> int:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    label, prediction = frame()
    ours = ConfusionMatrix([str(index) for index in range(CLASSES)], IGNORED)
    theirs = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=IGNORED)
    unchecked = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=IGNORED, validate_args=False)
    # torchmetrics refuses uint8 labels, so it gets tensors of its own type, converted beforehand
    label_tensor, prediction_tensor = (torch.from_numpy(ids).long() for ids in (label, prediction))
    updates: dict[str, Callable[[], object]] = {
        "torchmetrics": lambda: theirs.update(prediction_tensor, label_tensor),
        "torchmetrics_unchecked": lambda: unchecked.update(prediction_tensor, label_tensor),
        "jetseg": lambda: ours.update(label, prediction),
    }
    latencies = benchmark(updates, rounds=ROUNDS, seconds=SECONDS)
    difference = np.abs(
        np.array(list(ours.score().per_class_iou.values()), dtype=np.float64) - 100 * theirs.compute().double().numpy()
    ).max()
    result = {
        "frame": [HEIGHT, WIDTH],
        "classes": CLASSES,
        "update_ms": {name: round(latency.p50_ms, 3) for name, latency in latencies.items()},
        "times_as_fast": round(latencies["jetseg"].speed_ratio, 1),
        "times_as_fast_range": [
            round(latencies["jetseg"].speed_ratio_min, 1),
            round(latencies["jetseg"].speed_ratio_max, 1),
        ],
        "least_times_as_fast": LEAST_RATIO,
        "largest_iou_difference_points": float(difference),
        "device": device_name(),
        "toolchain": toolchain(("numpy", "opencv-python-headless", "torch", "torchmetrics")),
    }
    result["passed"] = bool(result["times_as_fast"] >= LEAST_RATIO and difference < 1e-3)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0 if result["passed"] else 1


def frame() -> tuple[np.ndarray, np.ndarray]:
    """Makes a label of patches, as scenes have, and a prediction that is right on most pixels."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, CLASSES, (HEIGHT // 16, WIDTH // 16), dtype=np.uint8)
    label = np.kron(coarse, np.ones((16, 16), np.uint8))
    wrong = generator.random(label.shape) < 0.15
    prediction = np.where(wrong, generator.integers(0, CLASSES, label.shape, dtype=np.uint8), label)
    label[generator.random(label.shape) < 0.1] = IGNORED
    return label, prediction


if __name__ == "__main__":
    sys.exit(main())
