"""What the camera does to the light: blur, vignette, color cast, noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from jetseg.data.synthetic.camera import HEIGHT, WIDTH
from jetseg.data.synthetic.style import Optics
from jetseg.data.synthetic.textures import NOISE_SIGMA, NOISE_ZERO, sensor_noise
from jetseg.preprocess import FrameU8

_NOISE_TILES = 4
_UNIT = 128


def expose(picture: FrameU8, optics: Optics, rng: np.random.Generator) -> FrameU8:
    """Turns a clean picture into a camera's frame.

    Args:
        picture: uint8 BGR, 192 x 320.
        optics: The camera.
        rng: Decides the noise of this frame.
    """
    blurred = cv2.GaussianBlur(picture, (3, 3), optics.blur)
    exposed = cv2.multiply(blurred, _gain_map(*optics.gain.tolist(), optics.vignette), scale=1 / _UNIT)
    tile = sensor_noise(int(rng.integers(_NOISE_TILES)))
    row, column = int(rng.integers(tile.shape[0] - HEIGHT)), int(rng.integers(tile.shape[1] - WIDTH))
    noise = tile[row : row + HEIGHT, column : column + WIDTH]
    strength = optics.noise / NOISE_SIGMA
    return np.asarray(cv2.addWeighted(exposed, 1.0, noise, strength, -strength * NOISE_ZERO), dtype=np.uint8)


@lru_cache(maxsize=8)
def _gain_map(blue: float, green: float, red: float, vignette: float) -> FrameU8:
    """Returns gain and vignette per pixel, in parts of 128."""
    row = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None] * np.float32(HEIGHT / np.hypot(HEIGHT, WIDTH))
    column = np.linspace(-1, 1, WIDTH, dtype=np.float32) * np.float32(WIDTH / np.hypot(HEIGHT, WIDTH))
    fall = np.float32(_UNIT) * (1 - np.float32(vignette) * (row**2 + column**2))
    return np.asarray(cv2.merge([cv2.convertScaleAbs(fall, alpha=gain) for gain in (blue, green, red)]), np.uint8)
