"""Draws the picture of the README: a frame of the drawn test drive, its class map, and both together.

    python docs/hooks/picture.py ENGINE [FRAME]

ENGINE is any engine or ONNX file for the classes of `synthetic`, as `jetseg demo` makes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

import jetseg
from jetseg.camera.overlay import Overlay

OUT = Path(__file__).parents[1] / "assets" / "drive.jpg"
GAP = 6


def draw(file: Path, frame: int) -> None:
    """Writes the picture."""
    image = jetseg.open_dataset("synthetic:120").split("test")[frame].image_hwc_u8
    with jetseg.open_engine(file) as engine:
        class_map = engine.segment(image)
    views = [image] + [Overlay(engine.manifest, alpha).draw(image, class_map) for alpha in (1.0, 0.5)]
    gap = np.full((image.shape[0], GAP, 3), 255, dtype=np.uint8)
    OUT.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(OUT), np.hstack([views[0], gap, views[1], gap, views[2]]), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    draw(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
