"""Tells whether two datasets are the same data, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from jetseg.data.contract import Split
from jetseg.data.files import FileSplit
from jetseg.data.synthetic import SyntheticSplit
from jetseg.data.synthetic.roads import RENDERER_VERSION
from jetseg.storage import sha256_file


def dataset_fingerprint(dataset: Split, frames: Sequence[int] | None = None) -> str:
    """Hashes the kind of a dataset, its split, and names and image files of some frames.

    The folder does not matter, nor do the labels: what is calibrated depends on the images alone.

    Args:
        dataset: The split.
        frames: Indices of the frames, in the order in which they are used; all by default.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{dataset.spec.partition(':')[0]}\n{dataset.split}\n".encode())
    for index in range(len(dataset)) if frames is None else frames:
        digest.update(f"{_frame_identity(dataset, index)}\n".encode())
    return digest.hexdigest()


def _frame_identity(dataset: Split, index: int) -> str:
    if isinstance(dataset, FileSplit):
        pair = dataset.pairs[index]
        return f"{pair.name} {pair.image.stat().st_size} {sha256_file(pair.image)}"
    if isinstance(dataset, SyntheticSplit):
        return f"renderer {RENDERER_VERSION} {dataset.place(index)}"
    sample = dataset[index]
    pixels = sample.image_hwc_u8
    return f"{sample.name} {pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
