"""Proof that an exported file computes what the torch network computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from jetseg.config import changed
from jetseg.data.contract import Split
from jetseg.errors import QualityError
from jetseg.evaluation.accuracy import spread
from jetseg.manifest import Manifest
from jetseg.measured import Parity
from jetseg.onnx.session import choose_input_and_outputs, make_session, run_session
from jetseg.postprocess import TaskMap, same_pixels, score_threshold, task_map, task_maps
from jetseg.preprocess import FrameU8, Preprocessor

MIN_AGREEMENT = 0.999
"""Least fraction of pixels with the same class. Rounding in another order flips a few pixels on borders."""
MAX_RELATIVE_ERROR = 1e-2
"""Largest logit error, as a fraction of the largest logit."""
_ROUNDING = 1e-5
"""What float32 sums in another order change at most, as a fraction of the largest logit: classes this near are tied."""


def parity_frames(manifest: Manifest, dataset: Split | None, count: int) -> list[FrameU8]:
    """Returns BGR frames to compare on: from a split of a dataset, or without one smooth random images."""
    if dataset is not None:
        return [dataset[index].image_hwc_u8 for index in spread(len(dataset), count)]
    generator = np.random.default_rng(0)
    height, width = manifest.input.height, manifest.input.width
    coarse = generator.integers(0, 256, (count, -(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    tiles = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    noise = generator.integers(-16, 17, tiles.shape)
    return list(np.clip(tiles + noise, 0, 255).astype(np.uint8))


def measure_parity(
    path: Path, manifest: Manifest, network: nn.Module, frames: Sequence[FrameU8], name: str = ""
) -> Parity:
    """Compares an exported file in ONNX Runtime with the torch network.

    The torch side is fed by `Preprocessor`, whatever is inside the graph, so that normalization and class
    choice in the graph are proven as well.

    Args:
        path: ONNX file.
        manifest: Its manifest.
        network: The network in eval mode; normalized float32 1 x C x H x W to logits.
        frames: BGR frames of any size.
        name: What to call the file in messages; its own name by default.

    Raises:
        QualityError: They differ by more than rounding explains.
    """
    session = make_session(path, threads=1)
    input_name, output_names = choose_input_and_outputs(path, session, manifest)
    normalized = changed(manifest.input, kind="normalized")
    torch_side = [task.with_output(kind="logits", name=task.output.name) for task in manifest.tasks]
    ends = np.cumsum([output.channels for output in manifest.outputs])[:-1]
    preprocess_torch, preprocess_onnx = Preprocessor(normalized), Preprocessor(manifest.input)
    agreements, errors, scale = [], [], 0.0
    for frame in frames:
        with torch.no_grad():
            expected = network(torch.from_numpy(preprocess_torch(frame))).numpy()
        outputs = run_session(session, output_names, {input_name: preprocess_onnx(frame)})
        wanted = np.split(expected, ends, axis=1) if len(ends) else [expected]
        for task, output, scores in zip(manifest.tasks, outputs, wanted, strict=True):
            if task.output.kind == "logits":
                errors.append(float(np.abs(output - scores).max()))
                scale = max(scale, float(np.abs(scores).max()))
        found = task_maps(outputs, manifest).values()
        agreements.append(min(map(_same_or_tied, found, wanted, torch_side)))
    agreement, error = float(np.mean(agreements)), float(np.max(errors)) if errors else None
    _check(name or path.name, len(frames), agreement, error, scale)
    return Parity(frames=len(frames), max_abs_error=error, argmax_agreement=agreement)


def _same_or_tied(found: TaskMap, scores: npt.NDArray[np.float32], task: Manifest) -> float:
    """Returns the share of pixels that are as these scores say, or that of a class which is tied with that by them."""
    same = same_pixels(found, task_map(scores, task))
    tied = 0
    if task.output.task != "depth" and not same.all():
        mine, others, near = found[~same], scores[0][:, ~same], _ROUNDING * float(np.abs(scores).max())
        threshold, void = score_threshold(task.output), task.num_classes
        if threshold is not None:
            tied = int(np.count_nonzero(np.abs(others[0] - threshold) <= near))
        else:
            by_class = np.vstack([others[:void], others[void:].max(axis=0, keepdims=True, initial=-np.inf)])
            chosen = np.take_along_axis(by_class, mine[None].astype(np.intp), axis=0)[0]
            tied = int(np.count_nonzero(by_class.max(axis=0) - chosen <= near))
    return float(np.count_nonzero(same) + tied) / same.size


def _check(name: str, frames: int, agreement: float, error: float | None, scale: float) -> None:
    # written so that a NaN fails as well
    same_classes = agreement >= MIN_AGREEMENT
    same_logits = error is None or error <= MAX_RELATIVE_ERROR * scale
    if not (same_classes and same_logits):
        logits = "" if error is None else f", and logits differ by up to {error:.3g} (largest logit {scale:.3g})"
        raise QualityError(
            f"{name} does not compute what the checkpoint computes: over {frames} frames "
            f"{100 * agreement:.2f} % of the pixels get the same class{logits}.",
            "No file was written. Try another opset, or replace the operation that both see differently.",
        )
