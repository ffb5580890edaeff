"""The frames that compression hurts most, and what they have in common (Hooker et al., arXiv:1911.05248)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetseg.explanation.observe import Observation

_SHARE = 0.1
"""Share of the frames that are grouped."""
_COMMON = 0.75
"""Share of a group that must have a trait for it to be told of the group."""


@dataclass(frozen=True)
class Exemplar:
    """One frame.

    Attributes:
        index: Position in the split.
        name: Its name.
        lost: Points of its labelled pixels that the parent has right and the children have not, mean over them.
        children: In how many of the children it lost anything.
        subject: The class that lost most of these pixels.
        traits: Its conditions, as in "dark".
    """

    index: int
    name: str
    lost: float
    children: int
    subject: str
    traits: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Frames that lost the same class.

    Attributes:
        subject: The class.
        traits: Conditions that most of them share.
        frames: The frames, those that lost most first.
    """

    subject: str
    traits: tuple[str, ...]
    frames: tuple[Exemplar, ...]


def hurt_frames(seen: Observation, classes: Sequence[str]) -> list[Exemplar]:
    """Returns the frames in which the children, on average, are worse than the parent, the worst first."""
    groups = seen.groups()
    found = []
    for place, frame in enumerate(seen.frames):
        losses = [frame.right[0] - right for right in frame.right[1:]]
        by_class = frame.lost.sum(axis=0)
        if float(np.mean(losses)) <= 0 or not by_class.any():
            continue
        traits = tuple(name for name, members in groups.items() if members[place])
        found.append(
            Exemplar(
                frame.index,
                frame.name,
                lost=round(float(np.mean(losses)), 3),
                children=sum(loss > 0 for loss in losses),
                subject=classes[int(by_class.argmax())],
                traits=traits,
            )
        )
    return sorted(found, key=lambda exemplar: -exemplar.lost)


def group_frames(seen: Observation, hurt: Sequence[Exemplar]) -> list[Group]:
    """Groups the worst tenth of the frames by the class that they lost, the largest group first."""
    chosen = hurt[: max(1, round(_SHARE * len(seen.frames)))]
    groups = []
    for subject in dict.fromkeys(exemplar.subject for exemplar in chosen):
        frames = tuple(exemplar for exemplar in chosen if exemplar.subject == subject)
        names = dict.fromkeys(trait for exemplar in frames for trait in exemplar.traits)
        shares = {name: float(np.mean([name in exemplar.traits for exemplar in frames])) for name in names}
        common = tuple(name for name, share in shares.items() if share >= _COMMON)
        groups.append(Group(subject, common, frames))
    return sorted(groups, key=lambda group: -len(group.frames))
