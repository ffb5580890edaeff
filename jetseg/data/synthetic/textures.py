"""Procedural textures: noise, facades, crowns of trees."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.synthetic.style import Bgr

Texture = npt.NDArray[np.uint8]
NOISE_SIZE = 256
NOISE_ZERO, NOISE_SIGMA = 128, 16
CROWN_SIZE = 96
CROWN_KINDS = 10
_FACADE_ROWS, _FACADE_COLUMNS = 96, 128


@lru_cache(maxsize=64)
def noise_tile(seed: int, octaves: tuple[int, ...] = (2, 4, 8, 16, 64)) -> npt.NDArray[np.float32]:
    """Makes a tile of smooth noise that repeats seamlessly: float32, 256 x 256, about -1 to 1.

    Args:
        seed: Which tile.
        octaves: Cells per side of each layer of noise; each layer is as strong as its cells are wide, to the
            power of one half.
    """
    rng = np.random.default_rng((seed, 77))
    total = np.zeros((NOISE_SIZE, NOISE_SIZE), dtype=np.float32)
    for cells in octaves:
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")
        step = NOISE_SIZE // cells
        large = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += large[2 * step : -2 * step, 2 * step : -2 * step] / np.float32(cells**0.5)
    return np.asarray(total / np.abs(total).max(), dtype=np.float32)


@lru_cache(maxsize=4)
def sensor_noise(tile: int) -> Texture:
    """Makes a tile of white noise around 128 with a standard deviation of 16: uint8, 256 x 512 x 3."""
    rng = np.random.default_rng((tile, 78))
    return np.clip(np.rint(rng.normal(NOISE_ZERO, NOISE_SIGMA, (256, 512, 3))), 0, 255).astype(np.uint8)


@lru_cache(maxsize=CROWN_KINDS)
def crown(kind: int) -> tuple[Texture, Texture]:
    """Makes the crown of a tree, or a bush (odd kinds are rounder).

    Returns:
        Brightness of the leaves and the mask (0 or 1), each uint8, 96 x 96.
    """
    rng = np.random.default_rng((kind, 79))
    row, column = np.mgrid[0:CROWN_SIZE, 0:CROWN_SIZE].astype(np.float32) / (CROWN_SIZE / 2) - 1
    field = np.full((CROWN_SIZE, CROWN_SIZE), -1.0, dtype=np.float32)
    light = np.zeros_like(field)
    for _ in range(14 if kind % 2 else 22):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.62 * np.sqrt(rng.random())
        x, y, radius = distance * np.cos(angle), distance * np.sin(angle), rng.uniform(0.2, 0.42)
        inside = (1 - np.hypot(column - x, row - y) / radius).astype(np.float32)
        light = np.where(inside > np.maximum(field, 0), 0.75 - 0.45 * (row - y) / radius - 0.25 * y, light)
        field = np.maximum(field, inside)
    leaves = noise_tile(kind, (16, 32, 64, 128))[:CROWN_SIZE, :CROWN_SIZE]
    mask = (field + 0.55 * leaves > 0.12) & (np.hypot(row, column) < 0.99)
    shade = np.clip((light + 0.7 * leaves) * 128 + 40, 20, 255)
    return shade.astype(np.uint8), mask.astype(np.uint8)


def facade(rng: np.random.Generator, wall: Bgr, glass: Bgr, floors: int, columns: int) -> Texture:
    """Makes a house front with rows of windows, perhaps a shop below, bricks or panels, and stains.

    Returns:
        uint8, 96 x 128 x 3, BGR.
    """
    row = (np.arange(_FACADE_ROWS) / _FACADE_ROWS * floors) % 1.0
    column = (np.arange(_FACADE_COLUMNS) / _FACADE_COLUMNS * columns) % 1.0
    left, top = rng.uniform(0.12, 0.3), rng.uniform(0.12, 0.3)
    away = np.abs(column - 0.5)
    window = np.outer((row > top) & (row < rng.uniform(0.75, 0.92)), (away < 0.5 - left) & (away > 0.03))
    frame = np.outer((row > top - 0.08) & (row < 0.95), away < 0.56 - left)
    picture = _colored(_wall_shade(rng), wall)
    trim = np.clip(wall * rng.uniform(0.6, 1.5) + rng.uniform(-10, 30), 0, 255)
    cv2.copyTo(_colored(np.ones(frame.shape, np.float32), trim), frame.astype(np.uint8), picture)
    # each pane reflects another piece of sky or room
    light = rng.uniform(0.5, 1.5, (floors, columns)).astype(np.float32)
    panes = cv2.resize(_colored(light, glass), window.shape[::-1], interpolation=cv2.INTER_NEAREST)
    cv2.copyTo(panes, window.astype(np.uint8), picture)
    if rng.random() < 0.35:
        _add_shop(picture, rng, glass, floors)
    return picture


def _wall_shade(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Returns the brightness of a wall: stains, perhaps courses of bricks, a darker base."""
    above, beside = (
        int(rng.integers(NOISE_SIZE - _FACADE_ROWS)),
        int(rng.integers(NOISE_SIZE - _FACADE_COLUMNS)),
    )
    grain = noise_tile(int(rng.integers(4)))[above : above + _FACADE_ROWS, beside : beside + _FACADE_COLUMNS]
    shade: npt.NDArray[np.float32] = 1 + np.float32(0.18) * grain
    if rng.random() < 0.5:
        shade[:: int(rng.integers(3, 7))] *= np.float32(0.86)
    shade[-int(rng.integers(3, 14)) :] *= np.float32(rng.uniform(0.6, 0.9))
    return shade


def _colored(shade: npt.NDArray[np.float32], color: Bgr) -> Texture:
    planes = [cv2.convertScaleAbs(shade, alpha=part) for part in color.tolist()]
    return np.asarray(cv2.merge(planes), dtype=np.uint8)


def _add_shop(picture: Texture, rng: np.random.Generator, glass: Bgr, floors: int) -> None:
    """Turns the ground floor into shop windows under a colored board."""
    top = round(_FACADE_ROWS * (1 - 1 / floors))
    board = top + max(3, (_FACADE_ROWS - top) // 5)
    picture[top:board] = rng.uniform(20, 230, 3).astype(np.uint8)
    picture[board:-2] = np.clip(0.8 * glass, 0, 255).astype(np.uint8)
    picture[board:-2, :: int(rng.integers(24, 50))] = np.uint8(rng.uniform(40, 220))
