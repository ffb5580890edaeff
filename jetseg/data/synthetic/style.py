"""What stays the same during one drive: the street's cross-section, the light and the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bgr = npt.NDArray[np.float64]
"""Color, 3 numbers from 0 to 255."""


@dataclass(frozen=True)
class Layout:
    """Cross-section and course of the street, in meters; the center line is at 0, right is positive."""

    lane_width: float
    lanes: int
    """Lanes in each direction."""
    parking: tuple[float, float]
    """Width of the parking strip at the left and the right, or 0."""
    pavement: float
    verge: float
    """Width of the grass between pavement and houses."""
    line_width: float
    dash: float
    gap: float
    edge_lines: bool
    double_center: bool
    yellow_center: bool
    amplitude: float
    wavelength: float
    phase: float

    def edge(self, side: int) -> float:
        """Returns the distance of the curb from the center line; side is -1 (left) or 1."""
        return self.lanes * self.lane_width + self.parking[(side + 1) // 2]

    def facade(self, side: int) -> float:
        """Returns the distance of the houses from the center line."""
        return self.edge(side) + self.pavement + self.verge

    def center(self, along: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns where the center line lies to the right, at each distance along the road."""
        turn = along * np.float32(2 * np.pi / self.wavelength) + np.float32(self.phase)
        return np.asarray(np.float32(self.amplitude) * np.sin(turn))

    def center_at(self, along: float) -> float:
        """Returns where the center line lies at one place."""
        return self.amplitude * math.sin(2 * math.pi * along / self.wavelength + self.phase)

    def slope(self, along: float) -> float:
        """Returns the derivative of `center_at`."""
        rate = 2 * math.pi / self.wavelength
        return self.amplitude * rate * math.cos(rate * along + self.phase)


@dataclass(frozen=True)
class Light:
    """Sun, sky and air. Factors multiply a surface's own color."""

    sun: tuple[float, float, float]
    """Unit vector to the sun: right, up, forward."""
    ambient: float
    direct: float
    """Strength of the sun; near 0 under clouds."""
    zenith: Bgr
    horizon: Bgr
    clouds: float
    visibility_m: float
    """Distance at which 63 % of the color is the air's."""

    def on(self, right: float, up: float, forward: float) -> float:
        """Returns the factor of a surface with this unit normal."""
        facing = right * self.sun[0] + up * self.sun[1] + forward * self.sun[2]
        return self.ambient + self.direct * max(0.0, facing)

    def air(self, depth_m: float) -> float:
        """Returns how much of a color at this distance is the air's, 0 to 1."""
        return 1.0 - math.exp(-max(depth_m, 0.0) / self.visibility_m)


@dataclass(frozen=True)
class Optics:
    """The camera and how it is mounted, and what it does to a picture."""

    focal_px: float
    height_m: float
    pitch: float
    gain: Bgr
    noise: float
    blur: float
    vignette: float


def draw_layout(rng: np.random.Generator) -> Layout:
    """Draws a street."""
    wavelength = rng.uniform(350, 900)
    radius = 160 * float(np.exp(rng.uniform(0, 2.5)))
    parked = rng.random(2) < 0.35
    pavement = rng.uniform(2.0, 4.2)
    return Layout(
        lane_width=rng.uniform(3.0, 3.6),
        lanes=1 if rng.random() < 0.65 else 2,
        parking=(2.3 if parked[0] else 0.0, 2.3 if parked[1] else 0.0),
        pavement=pavement,
        verge=rng.uniform(1.5, 6.0) if rng.random() < 0.6 else 0.0,
        line_width=rng.uniform(0.2, 0.32),
        dash=rng.uniform(3.0, 5.0),
        gap=rng.uniform(3.0, 6.0),
        edge_lines=rng.random() < 0.7,
        double_center=rng.random() < 0.25,
        yellow_center=rng.random() < 0.2,
        amplitude=(wavelength / (2 * np.pi)) ** 2 / radius,
        wavelength=wavelength,
        phase=rng.uniform(0, 2 * np.pi),
    )


def draw_light(rng: np.random.Generator) -> Light:
    """Draws the weather and the hour: sunny, overcast, foggy or dusk."""
    weather = rng.choice(["sun", "cloud", "fog", "dusk"], p=[0.45, 0.25, 0.12, 0.18])
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.0)
    blue = np.array([rng.uniform(190, 235), rng.uniform(150, 180), rng.uniform(90, 130)])
    gray = np.full(3, rng.uniform(165, 225)) + np.array([rng.uniform(0, 14), rng.uniform(-3, 5), 0.0])
    zenith, horizon, clouds = blue, 0.45 * blue + 0.55 * gray, rng.uniform(0, 0.8)
    ambient, direct, visibility = rng.uniform(0.5, 0.65), rng.uniform(0.45, 0.65), rng.uniform(180, 600)
    if weather in {"cloud", "fog"}:
        zenith, horizon, clouds = 0.92 * gray, gray, rng.uniform(0.1, 0.5)
        ambient, direct = rng.uniform(0.75, 0.9), rng.uniform(0.05, 0.12)
        visibility = rng.uniform(45, 90) if weather == "fog" else rng.uniform(120, 400)
    elif weather == "dusk":
        elevation = rng.uniform(0.12, 0.3)
        zenith = np.array([rng.uniform(90, 140), rng.uniform(70, 95), rng.uniform(60, 85)])
        horizon = np.array([rng.uniform(90, 150), rng.uniform(110, 150), rng.uniform(150, 200)])
        ambient, direct = rng.uniform(0.32, 0.48), rng.uniform(0.1, 0.35)
        visibility = rng.uniform(120, 350)
    flat = float(np.cos(elevation))
    sun = (flat * float(np.sin(azimuth)), float(np.sin(elevation)), flat * float(np.cos(azimuth)))
    return Light(sun, ambient, direct, zenith, horizon, clouds, visibility)


def draw_optics(rng: np.random.Generator) -> Optics:
    """Draws a camera."""
    return Optics(
        focal_px=rng.uniform(265, 320),
        height_m=rng.uniform(1.25, 1.65),
        pitch=rng.uniform(-0.01, 0.035),
        gain=rng.uniform(0.85, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3)),
        noise=rng.uniform(1.0, 6.0),
        blur=rng.uniform(0.35, 0.75),
        vignette=rng.uniform(0.0, 0.25),
    )
