"""Paints the ground, under the sky: what all other things stand in front of."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.synthetic.camera import HEIGHT, WIDTH, Camera, Plane
from jetseg.data.synthetic.classes import Class
from jetseg.data.synthetic.sky import SKY_ROWS, Sky
from jetseg.data.synthetic.style import Bgr, Layout, Light
from jetseg.data.synthetic.textures import NOISE_SIZE, noise_tile
from jetseg.data.synthetic.world import Block

MARKING_SIGHT_M = 45.0
"""Markings end here, where they would be about a pixel wide."""
GROUND_SIGHT_M = 170.0
_STEP_M = 0.04
_REACH_M = 40.0


@dataclass(frozen=True)
class GroundStyle:
    """Colors of the ground, and its cross-section in steps of 4 cm from 40 m left to 40 m right.

    Attributes:
        colors: Color per class, 10 x 3.
        rough: Strength of the texture per class.
        dashed: Class at each step where dashed lines are on.
        between: Class at each step where they are off.
        shade: Brightness at each step: gutters, wheel tracks, edges of slabs.
        tile: Which noise.
        patches: How much of the road was repaired, 0 to 1.
    """

    colors: npt.NDArray[np.float32]
    rough: npt.NDArray[np.float32]
    dashed: npt.NDArray[np.uint8]
    between: npt.NDArray[np.uint8]
    shade: npt.NDArray[np.float32]
    tile: int
    patches: float


def draw_ground_style(rng: np.random.Generator, layout: Layout) -> GroundStyle:
    """Draws the surfaces of a drive."""
    colors = np.zeros((len(Class), 3), dtype=np.float32)
    rough = np.full(len(Class), 0.12, dtype=np.float32)
    colors[Class.ROAD] = rng.uniform(60, 125) * (1 + rng.uniform(-0.05, 0.05, 3))
    slabs: Bgr = np.array([rng.uniform(0.75, 1.0), rng.uniform(0.85, 1.0), 1.0])
    colors[Class.PAVEMENT] = slabs * rng.uniform(90, 175)
    colors[Class.LANE_MARKING] = rng.uniform(185, 245)
    dry = rng.random()
    colors[Class.VEGETATION] = np.array([0.4, 1.0 - 0.1 * dry, 0.55 + 0.4 * dry]) * rng.uniform(75, 130)
    rough[Class.VEGETATION], rough[Class.LANE_MARKING] = 0.4, 0.08
    rough[Class.ROAD] = rng.uniform(0.06, 0.2)
    dashed, between = _cross_section(layout)
    return GroundStyle(
        colors=colors,
        rough=rough,
        dashed=dashed,
        between=between,
        shade=_cross_shade(rng, layout),
        tile=int(rng.integers(4)),
        patches=rng.uniform(0, 0.5),
    )


def paint_backdrop(
    camera: Camera, light: Light, layout: Layout, surfaces: tuple[Sky, GroundStyle], blocks: list[Block]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Paints sky and ground; returns picture and label, 192 x 320."""
    sky, style = surfaces
    horizon = _horizon(camera)
    picture = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    label = np.empty((HEIGHT, WIDTH), dtype=np.uint8)
    picture[:horizon], label[:horizon] = sky.seen(camera, horizon)
    top = _ground_top(camera)
    ground = _Ground(*camera.ground(top), layout)
    ids = _ground_classes(layout, style, blocks, ground)
    colors = _ground_colors(light, style, blocks, ids, ground)
    seen = (ground.depth < GROUND_SIGHT_M).astype(np.uint8)
    seen[horizon - top :] = 1
    cv2.copyTo(ids, seen, label[top:])
    cv2.copyTo(colors, seen, picture[top:])
    return picture, label


def backdrop_depth(camera: Camera) -> Plane:
    """Returns how far away the ground is, in meters, 192 x 320; infinite above it and out of sight."""
    depth = np.full((HEIGHT, WIDTH), np.inf, dtype=np.float32)
    top = _ground_top(camera)
    seen = camera.ground(top)[2]
    depth[top:] = np.where(seen < GROUND_SIGHT_M, seen, np.float32(np.inf))
    return depth


def _ground_top(camera: Camera) -> int:
    """Returns the first row that may show ground."""
    return _horizon(camera) - 6


def _horizon(camera: Camera) -> int:
    return int(np.clip(round(camera.horizon_row) + 3, 20, SKY_ROWS - 4))


class _Ground:
    """Where the pixels of the lower part of the picture lie on the ground, all in meters.

    Args:
        right: World coordinate.
        along: Distance along the road.
        depth: Distance from the camera.
        layout: The street.
    """

    def __init__(self, right: Plane, along: Plane, depth: Plane, layout: Layout) -> None:
        self.along = along
        self.depth = depth
        self.across: Plane = right - layout.center(along)
        steps = (self.across + np.float32(_REACH_M)) * np.float32(1 / _STEP_M)
        last = round(2 * _REACH_M / _STEP_M) - 1
        self.steps: npt.NDArray[np.int32] = np.clip(steps, 0, last).astype(np.int32)
        """Position in the cross-section's tables."""


def _cross_section(layout: Layout) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    across = np.arange(-_REACH_M, _REACH_M, _STEP_M)
    solid = np.full(across.shape, Class.VEGETATION, dtype=np.uint8)
    for side in (-1, 1):
        away = across * side
        solid[(away >= 0) & (away < layout.edge(side) + layout.pavement)] = Class.PAVEMENT
        solid[(away >= 0) & (away < layout.edge(side))] = Class.ROAD
    lanes = layout.lanes * layout.lane_width
    half = layout.line_width / 2
    if layout.edge_lines:
        for side in (-1, 1):
            inset = 0.0 if layout.parking[(side + 1) // 2] else 0.3
            solid[np.abs(across - side * (lanes - inset)) < half] = Class.LANE_MARKING
    dashed = solid.copy()
    if layout.double_center:
        solid[np.abs(np.abs(across) - 1.1 * layout.line_width) < half] = Class.LANE_MARKING
        dashed[:] = solid
    else:
        dashed[np.abs(across) < half] = Class.LANE_MARKING
    if layout.lanes == 2:
        dashed[np.abs(np.abs(across) - layout.lane_width) < half] = Class.LANE_MARKING
    return dashed, solid


def _cross_shade(rng: np.random.Generator, layout: Layout) -> npt.NDArray[np.float32]:
    across = np.arange(-_REACH_M, _REACH_M, _STEP_M)
    shade = np.ones(across.shape)
    depth = rng.uniform(0, 0.18)
    for lane in range(-layout.lanes, layout.lanes):
        middle = (lane + 0.5) * layout.lane_width
        shade -= depth * np.exp(-(((np.abs(across - middle) - 0.75) / 0.3) ** 2))
    for side in (-1, 1):
        curb = across * side - layout.edge(side)
        shade[(curb > -0.25) & (curb < 0)] *= 0.75
        shade[(curb >= 0) & (curb < 0.18)] *= 1.2
        slab = (curb >= 0.2) & (curb < layout.pavement)
        shade[slab & ((curb % 0.9) < 0.06)] *= 0.85
    return shade.astype(np.float32)


def _ground_classes(layout: Layout, style: GroundStyle, blocks: list[Block], ground: _Ground) -> npt.NDArray[np.uint8]:
    along, across = ground.along, ground.across
    period = np.float32(1 / (layout.dash + layout.gap))
    turns = along * period
    on = turns - np.floor(turns) < layout.dash * period
    ids = np.where(on, style.dashed.take(ground.steps), style.between.take(ground.steps))
    first, last = float(along.min()), float(along.max())
    for block in blocks:
        if block.junction is not None and first < block.junction[1] and block.junction[0] < last:
            start, end = block.junction
            ids[(along >= start) & (along < end)] = Class.ROAD
        if block.crossing is not None and first < block.crossing[1] and block.crossing[0] < last:
            start, end = block.crossing
            inside = (along >= start - 1.0) & (along < end)
            inside &= (across > -layout.edge(-1)) & (across < layout.edge(1))
            stripes = (across - np.floor(across) < 0.5) & (along >= start)
            ids[inside] = np.where(stripes[inside], np.uint8(Class.LANE_MARKING), np.uint8(Class.ROAD))
    far = ground.depth[:, WIDTH // 2]
    beyond = int(np.count_nonzero(far > MARKING_SIGHT_M))
    ids[:beyond][ids[:beyond] == Class.LANE_MARKING] = Class.ROAD
    ids[: int(np.count_nonzero(far >= GROUND_SIGHT_M))] = Class.VEGETATION
    return ids


def _ground_colors(
    light: Light, style: GroundStyle, blocks: list[Block], ids: npt.NDArray[np.uint8], ground: _Ground
) -> npt.NDArray[np.uint8]:
    row_depth = np.minimum(ground.depth[:, WIDTH // 2 : WIDTH // 2 + 1], np.float32(1e4))
    nearness = np.float32(1.6) / (1 + (row_depth * np.float32(1 / 18)) ** 2)
    fine = _grain(noise_tile(style.tile), ground)
    coarse = _stains(noise_tile(style.tile + 4, (4, 8, 16)), ground)
    shade = 1 + style.rough.take(ids) * (fine * nearness + coarse)
    shade *= style.shade.take(ground.steps)
    repaired = (coarse > 0.55 - 0.4 * style.patches) & (ids == Class.ROAD)
    shade *= 1 - np.float32(0.15) * repaired
    shade *= _sunlight(light, blocks, ground)
    air = 1 - np.exp(-row_depth * np.float32(1 / light.visibility_m))
    shade *= 1 - air
    colors = style.colors.take(ids, axis=0) * shade[..., None]
    colors += light.horizon.astype(np.float32) * air[..., None]
    return np.asarray(cv2.convertScaleAbs(colors), dtype=np.uint8)


def _grain(tile: npt.NDArray[np.float32], ground: _Ground) -> Plane:
    """Looks up fine texture; one tile covers 9 m."""
    scale = np.float32(NOISE_SIZE / 9.0)
    column = (ground.across * scale).astype(np.int32) & (NOISE_SIZE - 1)
    row = (ground.along * scale).astype(np.int32) & (NOISE_SIZE - 1)
    return np.asarray(tile.ravel().take(row * NOISE_SIZE + column), dtype=np.float32)


def _stains(tile: npt.NDArray[np.float32], ground: _Ground) -> Plane:
    """Looks up smooth texture at every second pixel and fills in between; one tile covers 37 m."""
    scale = np.float32(NOISE_SIZE / 37.0)
    along, across = ground.along[::2, ::2], ground.across[::2, ::2]
    # whole tiles are taken off first: remap counts in 16 bits
    passed = np.float32(np.floor(float(along[-1, 0]) / 37.0) * 37.0)
    column, row = across * scale, (along - passed) * scale
    sampled = cv2.remap(tile, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(cv2.resize(sampled, ground.along.shape[::-1]), dtype=np.float32)


def _sunlight(light: Light, blocks: list[Block], ground: _Ground) -> Plane:
    """Returns the light factor of the ground: full sun, or only the sky's light behind houses."""
    bright = np.full(ground.along.shape, np.float32(light.on(0, 1, 0)))
    side = 1 if light.sun[0] > 0 else -1
    if light.direct < 0.2:
        return bright
    # a house's shadow reaches this far across for each meter of its height
    reach = max(min(abs(light.sun[0]) / light.sun[1], 2.0), 1e-3)
    slant = light.sun[2] / light.sun[1] / reach
    first, last = float(ground.along.min()), float(ground.along.max())
    base = ground.along - (slant * side) * ground.across
    for house in (house for block in blocks for house in block.buildings):
        if house.across * side <= 0 or house.end < first - 40 or house.start > last + 40:
            continue
        edge = abs(house.across)
        shaded = (base > house.start - slant * edge) & (base < house.end - slant * edge)
        shaded &= ground.across * side > edge - house.height * reach
        np.copyto(bright, np.float32(light.ambient), where=shaded)
    return bright
