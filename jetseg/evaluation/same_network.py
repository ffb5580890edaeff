"""Tells artifacts of one network from those of another by their manifests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from jetseg.errors import ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest


def check_same_network(manifests: Mapping[str, Manifest]) -> None:
    """Refuses artifacts that have other classes, another input size or another preprocessing than the first.

    Where the preprocessing happens, in the graph or before it, makes no difference.

    Args:
        manifests: The manifest of each artifact by its name, in order.

    Raises:
        ManifestError: One differs from the first; says in what.
    """
    (first_name, first), *others = manifests.items()
    for name, other in others:
        differences = _differences(first, other)
        if differences:
            raise ManifestError(
                f"{name} is not the same network as {first_name}. {'; '.join(differences)}.",
                "Compare artifacts of one network, or correct the manifest that is wrong.",
            )


def _differences(first: Manifest, other: Manifest) -> list[str]:
    ours, theirs = first.input, other.input
    facts = {
        "Classes": (", ".join(first.classes), ", ".join(other.classes)),
        "Input size": (f"{ours.width}x{ours.height}", f"{theirs.width}x{theirs.height}"),
        "Color": (ours.color, theirs.color),
        "Frames": (_window(ours), _window(theirs)),
    }
    if ours.channels == theirs.channels and not _same_values(ours, theirs):
        facts["Normalization"] = (_normalization(ours), _normalization(theirs))
    return [f"{what}: {found} instead of {expected}" for what, (expected, found) in facts.items() if found != expected]


def _window(spec: InputSpec) -> str:
    window = spec.frames
    return "without a window" if window is None else f"windowed to {window.low:g}..{window.high:g}"


def _same_values(one: InputSpec, other: InputSpec) -> bool:
    """True if the network sees the same values, however scale, mean and std are written."""
    values = _value_range(one)
    return np.allclose(values, _value_range(other), rtol=0, atol=1e-5 * float(np.abs(values).max()))


def _value_range(spec: InputSpec) -> npt.NDArray[np.float64]:
    """What pixels 0 and 255 become: 2 x channels."""
    pixels = np.array([[0.0], [255.0]])
    return np.asarray((pixels * spec.scale - np.array(spec.mean)) / np.array(spec.std))


def _normalization(spec: InputSpec) -> str:
    return f"scale {spec.scale}, mean {list(spec.mean)}, std {list(spec.std)}"
