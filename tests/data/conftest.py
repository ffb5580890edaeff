"""Tiny generated datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

ImageWriter = Callable[..., Path]


@pytest.fixture
def write_image() -> ImageWriter:
    """Gives a function that writes an image file and returns its path."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded, content = cv2.imencode(path.suffix, pixels)
        assert encoded
        path.write_bytes(content.tobytes())
        return path

    return write


@pytest.fixture
def camvid_dir(tmp_path: Path, write_image: ImageWriter) -> Path:
    """Gives a CamVid tree with two train frames and one val frame of 4 x 6 pixels."""
    root = tmp_path / "camvid"
    for split, names in (("train", ("b", "a")), ("val", ("c",))):
        for name in names:
            write_image(root / split / f"{name}.png", np.full((4, 6, 3), ord(name), np.uint8))
            write_image(root / (split + "annot") / f"{name}.png", np.full((4, 6), 11, np.uint8))
    return root


@pytest.fixture
def folder_dir(tmp_path: Path, write_image: ImageWriter) -> Path:
    """Gives a folder dataset with frames 0 to 3, whose masks hold 0 and 255."""
    root = tmp_path / "membrane"
    for name in range(4):
        mask = np.zeros((4, 6), np.uint8)
        mask[:, 3:] = 255
        write_image(root / "images" / f"{name}.png", np.full((4, 6), 10 * name, np.uint8))
        write_image(root / "labels" / f"{name}.png", mask)
    (root / "classes.yaml").write_text("classes: [background, membrane]\nlabel_values: {0: 0, 255: 1}\n")
    return root
