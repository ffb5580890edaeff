"""What goes into a network and comes out of it, checked against its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jetseg.errors import ManifestError
from jetseg.manifest import InputSpec


def input_shape(spec: InputSpec) -> tuple[int, ...]:
    """Returns the shape of a network's input, batch 1.

    >>> input_shape(InputSpec(height=2, width=4)), input_shape(InputSpec(height=2, width=4, kind="frame"))
    ((1, 3, 2, 4), (1, 2, 4, 3))
    """
    if spec.kind == "frame":
        return (1, spec.height, spec.width, 3)
    return (1, spec.channels, spec.height, spec.width)


def pick_tensor(path: Path, role: str, names: Sequence[str], wanted: str | None) -> str:
    """Picks the input or output that the manifest means.

    Args:
        path: The network's file.
        role: "input" or "output".
        names: Those that the network has.
        wanted: The one that the manifest names, if any.

    Raises:
        ManifestError: There are several and the manifest names none, or the one that it names does not exist.
    """
    if wanted is not None:
        if wanted not in names:
            raise ManifestError(f"{path} has no {role} named {wanted}.", f"Its {role}s are: {', '.join(names)}.")
        return wanted
    if len(names) != 1:
        raise ManifestError(
            f"{path} has {len(names)} {role}s: {', '.join(names)}.",
            f"Name the one to use as `{role}.name` in the manifest.",
        )
    return names[0]


def check_input(
    path: Path, name: str, kind: object, shape: Sequence[int | str | None], wanted: object, spec: InputSpec
) -> None:
    """Refuses an input that is not of the type (`wanted`) and the shape that the manifest says.

    Names, None and -1 in its shape stand for any size.

    Raises:
        ManifestError: It differs.
    """
    expected = input_shape(spec)
    if kind != wanted or not _fits(shape, expected):
        raise ManifestError(
            f"{path}: input {name} is {kind} of shape {list(shape)}, but the manifest says {wanted} of shape "
            f"{list(expected)} (input.kind {spec.kind}).",
            "Correct `input` in the manifest.",
        )


def _fits(shape: Sequence[int | str | None], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        not isinstance(size, int) or size in (wanted, -1) for size, wanted in zip(shape, expected, strict=True)
    )
