"""The sky, with clouds, and a far skyline of trees and houses."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.synthetic.camera import WIDTH, Camera
from jetseg.data.synthetic.classes import Class
from jetseg.data.synthetic.style import Light
from jetseg.data.synthetic.textures import NOISE_SIZE, noise_tile

SKY_ROWS = 150
_SKY_WIDTH, _SKYLINE_ROWS, _SKYLINE_M = 640, 32, 140.0


@dataclass(frozen=True)
class Sky:
    """Sky and skyline above the horizon, wide enough for all turns of the road."""

    picture: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]

    def seen(self, camera: Camera, rows: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Returns the lowest rows of picture and label, cut to what the camera is turned to."""
        left = (_SKY_WIDTH - WIDTH) / 2 + camera.focal_px * camera.yaw
        start = int(np.clip(left, 0, _SKY_WIDTH - WIDTH))
        window = slice(SKY_ROWS - rows, SKY_ROWS), slice(start, start + WIDTH)
        return self.picture[window], self.label[window]


def draw_sky(rng: np.random.Generator, light: Light) -> Sky:
    """Paints the sky of a drive with clouds, and a far skyline of trees and houses."""
    noise = np.roll(noise_tile(int(rng.integers(4)), (2, 4, 8, 16)), int(rng.integers(NOISE_SIZE)), axis=1)
    wide = np.asarray(cv2.resize(noise[: SKY_ROWS // 2], (_SKY_WIDTH, SKY_ROWS)), dtype=np.float32)
    picture = cv2.resize(_clouded(light, wide[::4, ::4]), (_SKY_WIDTH, SKY_ROWS))
    label = np.full((SKY_ROWS, _SKY_WIDTH), Class.SKY, dtype=np.uint8)
    trees = 5 + 5 * rng.random() + 9 * noise_tile(int(rng.integers(4)), (8, 32, 64))[0].repeat(3)[:_SKY_WIDTH]
    houses = rng.uniform(0, 20, _SKY_WIDTH // 8).repeat(8) * (rng.random(_SKY_WIDTH // 16).repeat(16) < 0.4)
    for class_id, top, color in (
        (Class.BUILDING, houses, np.full(3, rng.uniform(70, 150))),
        (Class.VEGETATION, trees, np.array([45.0, 85, 60])),
    ):
        inside = (np.arange(SKY_ROWS, 0, -1)[:, None] <= top).astype(np.uint8)
        air = light.air(_SKYLINE_M)
        tint = np.stack([(1 - air) * light.ambient * color, air * light.horizon], axis=1)
        low = slice(SKY_ROWS - _SKYLINE_ROWS, SKY_ROWS)
        far = [cv2.convertScaleAbs(1 + np.float32(0.25) * wide[low], alpha=a, beta=b) for a, b in tint]
        cv2.copyTo(cv2.merge(far), inside[low], picture[low])
        cv2.copyTo(np.full_like(label, class_id), inside, label)
    return Sky(np.asarray(picture, dtype=np.uint8), label)


def _clouded(light: Light, noise: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Paints a sky that pales toward the horizon, with clouds where the noise is high."""
    height = np.linspace(1, 0, len(noise))[:, None, None]
    clear = light.horizon + (light.zenith - light.horizon) * height**0.7
    cover = np.clip(2.5 * noise + light.clouds, 0, 1)[..., None] * light.clouds
    cloudy = clear + (np.minimum(light.horizon * 1.12, 250) - clear) * cover
    return np.asarray(cv2.convertScaleAbs(cloudy), dtype=np.uint8)
