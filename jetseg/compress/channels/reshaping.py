"""What a reshape does to the channels of a tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from jetseg.compress.channels.variables import Channels, Ids, Label

MOST_VALUES = 1 << 22
"""Axes that together have more indices than this are not followed through a reshape."""


def reshape_labels(channels: Channels, labels: Sequence[Label], old: Sequence[int], new: Sequence[int]) -> list[Label]:
    """Returns the labels of a tensor's axes after a reshape.

    Args:
        channels: All channels of the network.
        labels: Of the axes before.
        old: Shape before.
        new: Shape after, without -1.
    """
    result: list[Label] = []
    for before, after in _blocks(old, new):
        own = [labels[k] for k in before]
        sizes = [new[k] for k in after]
        if all(label is None for label in own):
            result += [None] * len(after)
        elif len([size for size in sizes if size != 1]) == len([k for k in before if old[k] != 1]) == 1:
            whole = next(label for k, label in zip(before, own, strict=True) if old[k] != 1)
            result += [None if size == 1 else whole for size in sizes]
        else:
            result += split_axis(channels, merge_axes(channels, own, [old[k] for k in before]), sizes)
    return result


def merge_axes(channels: Channels, labels: Sequence[Label], sizes: Sequence[int]) -> Label:
    """Returns the label of the one axis that several become."""
    followed = [(k, label) for k, label in enumerate(labels) if label is not None]
    if prod(sizes) > MOST_VALUES:
        for _, label in followed:
            channels.keep(label, "kept: merged into an axis that is too long to follow")
        return None
    if not followed:
        return None
    if len(followed) == 1:
        ((k, label),) = followed
        return _spread(label, k, sizes).ravel()
    flat = channels.new(prod(sizes[k] for k, _ in followed)).reshape([sizes[k] for k, _ in followed])
    channels.is_one(flat, [label for _, label in followed])
    shape = [sizes[k] if label is not None else 1 for k, label in enumerate(labels)]
    return np.broadcast_to(flat.reshape(shape), sizes).ravel()


def split_axis(channels: Channels, label: Label, sizes: Sequence[int]) -> list[Label]:
    """Returns the labels of the several axes that one becomes."""
    if label is None:
        return [None] * len(sizes)
    grid = label.reshape(sizes)
    varying = [k for k in range(len(sizes)) if sizes[k] > 1 and (grid != grid.take([0], k)).any()]
    if not varying:
        channels.keep(label, "kept: all its slices are one")
        return [None] * len(sizes)
    core = grid[tuple(slice(None) if k in varying else 0 for k in range(len(sizes)))]
    if len(varying) == 1:
        return [core if k == varying[0] else None for k in range(len(sizes))]
    axes = [channels.new(sizes[k]) for k in varying]
    channels.is_one(core, axes)
    found = iter(axes)
    return [next(found) if k in varying else None for k in range(len(sizes))]


def _spread(label: Ids, axis: int, sizes: Sequence[int]) -> Ids:
    shape = [1] * len(sizes)
    shape[axis] = -1
    return np.broadcast_to(label.reshape(shape), sizes)


def _blocks(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Cuts two shapes of as many values into the shortest runs of axes that hold as many values."""
    i = j = 0
    while i < len(old) or j < len(new):
        before: list[int] = []
        after: list[int] = []
        size = wanted = 1
        while not (before or after) or size != wanted:
            if size <= wanted and i < len(old):
                before.append(i)
                size *= old[i]
                i += 1
            elif j < len(new):
                after.append(j)
                wanted *= new[j]
                j += 1
            else:  # nothing but axes of size 1 is left
                break
        yield before, after
