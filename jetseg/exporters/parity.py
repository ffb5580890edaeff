"""Proof that an exported file computes what the torch network computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from jetseg.config import changed
from jetseg.data.contract import Split
from jetseg.errors import QualityError
from jetseg.evaluation.accuracy import spread
from jetseg.manifest import Manifest
from jetseg.measured import Parity
from jetseg.onnx.session import choose_input_and_outputs, make_session, run_session
from jetseg.postprocess import same_share, task_map, task_maps
from jetseg.preprocess import FrameU8, Preprocessor

MIN_AGREEMENT = 0.999
"""Least fraction of pixels with the same class. Rounding in another order flips a few pixels on borders."""
MAX_RELATIVE_ERROR = 1e-2
"""Largest logit error, as a fraction of the largest logit."""


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
        decided = [task_map(scores, task) for scores, task in zip(wanted, torch_side, strict=True)]
        agreements.append(same_share([*task_maps(outputs, manifest).values()], decided))
    agreement, error = float(np.mean(agreements)), float(np.max(errors)) if errors else None
    _check(name or path.name, len(frames), agreement, error, scale)
    return Parity(frames=len(frames), max_abs_error=error, argmax_agreement=agreement)


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
