"""Operators that move channels: views, joins, cuts, copies.

Each function is the rule of the operator of its name: it reads the labels of the inputs,
says which channels meet, and labels the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

from jetseg.compress.channels.notes import Arguments, Labels, Notes, tensors_in
from jetseg.compress.channels.reshaping import merge_axes, reshape_labels, split_axis
from jetseg.compress.channels.variables import Label


def like(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    for output in tensors_in([result]):
        notes.note(output, notes.labels(arguments[0]))


def view(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source = arguments[0]
    notes.note(result, reshape_labels(notes.channels, notes.labels(source), source.shape, result.shape))


def permute(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    notes.note(result, [labels[axis] for axis in arguments[1]])


def transpose(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    first, second = arguments[1:3] if len(arguments) > 1 else (0, -1)
    if labels:
        labels[first], labels[second] = labels[second], labels[first]
    notes.note(result, labels)


def unsqueeze(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    labels.insert(arguments[1] % result.ndim, None)
    notes.note(result, labels)


def expand(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    """Copies of one slice are alike, so any of them can go."""
    source = arguments[0]
    labels: Labels = []
    for axis in range(-result.ndim, 0):
        size = source.shape[axis] if -axis <= source.ndim else 1
        if size == result.shape[axis]:
            labels.append(notes.labels(source)[axis] if -axis <= source.ndim else None)
        else:
            labels.append(notes.channels.new(result.shape[axis]))
    notes.note(result, labels)


def cut(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, axis, start, end, step = arguments
    labels = notes.labels(source)
    label = labels[axis]
    if label is not None:
        taken = slice(start, end, step)
        if step != 1:
            notes.channels.keep(label, "kept: every other channel is read")
        labels[axis] = label[taken]
    notes.note(result, labels)


def select(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, axis = arguments[:2]
    labels = notes.labels(source)
    notes.channels.keep(labels.pop(axis), "kept: read by its number")
    notes.note(result, labels)


def split(notes: Notes, arguments: Arguments, result: Sequence[Tensor]) -> None:
    labels = notes.labels(arguments[0])
    axis = arguments[2] % len(labels)
    start = 0
    for part in result:
        own, label = list(labels), labels[axis]
        own[axis] = None if label is None else label[start : start + part.shape[axis]]
        notes.note(part, own)
        start += part.shape[axis]


def unbind(notes: Notes, arguments: Arguments, result: Sequence[Tensor]) -> None:
    for part in result:
        select(notes, arguments, part)


def cat(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    axis = arguments[1] % result.ndim
    parts = [tensor for tensor in arguments[0] if tensor.ndim == result.ndim]  # torch skips empty vectors
    labels: Labels = []
    for k in range(result.ndim):
        own = [notes.labels(part)[k] for part in parts]
        label = own[0]
        if k == axis and any(part is not None for part in own):
            label = np.concatenate([_fixed(notes, part, t.shape[k]) for part, t in zip(own, parts, strict=True)])
        elif k != axis:
            for other in own[1:]:
                label = notes.channels.couple(label, other, "kept: joined with a constant of the code")
        labels.append(label)
    notes.note(result, labels)


def _fixed(notes: Notes, label: Label, size: int) -> Any:  # noqa: ANN401
    """Returns the label of a part; one of fixed size gets variables that must stay."""
    if label is None:
        label = notes.channels.new(size)
        notes.channels.keep(label, "kept: of fixed size")
    return label


def stack(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0][0])
    for tensor in arguments[0][1:]:
        others = notes.labels(tensor)
        labels = [
            notes.channels.couple(a, b, "kept: stacked on a constant") for a, b in zip(labels, others, strict=True)
        ]
    labels.insert(arguments[1] % result.ndim, None)
    notes.note(result, labels)


def flip(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    for axis in arguments[1]:
        label = labels[axis]
        labels[axis] = None if label is None else label[::-1].copy()
    notes.note(result, labels)


def roll(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, shifts, axes = arguments
    labels = notes.labels(source)
    if not axes:
        notes.fix(source, "kept: rolled as one row")
        return
    for shift, axis in zip(shifts, axes, strict=True):
        label = labels[axis]
        labels[axis] = None if label is None else np.roll(label, shift)
    notes.note(result, labels)


def pad(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    """Channels of padding can go like others, as can what they are added to."""
    source, widths = arguments[:2]
    labels = notes.labels(source)
    for k in range(len(widths) // 2):
        axis, (left, right) = source.ndim - 1 - k, widths[2 * k : 2 * k + 2]
        label = labels[axis]
        if label is None or (left, right) == (0, 0):
            continue
        if left < 0 or right < 0:
            notes.channels.keep(label, "kept: cropped by padding")
            labels[axis] = None
        else:
            labels[axis] = np.concatenate([notes.channels.new(left), label, notes.channels.new(right)])
    notes.note(result, labels)


def repeat(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, times = arguments
    labels = [None] * (result.ndim - source.ndim) + notes.labels(source)
    for axis, label in enumerate(labels):
        if label is not None:
            labels[axis] = np.tile(label, times[axis])
    notes.note(result, labels)


def index(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, indices = arguments[:2]
    labels = notes.labels(source)
    used = [k for k, index in enumerate(indices) if index is not None]
    for k in used:
        notes.channels.keep(labels[k], "kept: read by numbers of the code")
    adjacent = used == list(range(used[0], used[-1] + 1))
    rest = [label for k, label in enumerate(labels) if k not in used]
    place = used[0] if adjacent else 0
    count = result.ndim - len(rest)
    notes.note(result, [*rest[:place], *[None] * count, *rest[place:]])


def embedding(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    weight = notes.labels(arguments[0])
    notes.channels.keep(weight[0], "kept: read by numbers of the code")
    notes.note(result, [*[None] * (result.ndim - 1), weight[1]])


def index_select(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    notes.channels.keep(labels[arguments[1]], "kept: read by numbers of the code")
    labels[arguments[1]] = None
    notes.note(result, labels)


def pixel_shuffle(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, factor = arguments
    labels = notes.labels(source)
    channels, *inside = split_axis(notes.channels, labels[-3], [result.shape[-3], factor, factor])
    for label in inside:
        notes.channels.keep(label, "kept: becomes pixels")
    notes.note(result, [*labels[:-3], channels, None, None])


def pixel_unshuffle(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    factor = arguments[1]
    merged = merge_axes(notes.channels, [labels[-3], None, None], [arguments[0].shape[-3], factor, factor])
    notes.note(result, [*labels[:-3], merged, None, None])


def channel_shuffle(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, groups = arguments
    labels = notes.labels(source)
    sizes = [groups, source.shape[1] // groups]
    counted, inside = split_axis(notes.channels, labels[1], sizes)
    notes.channels.keep(counted, "kept: shuffled")
    labels[1] = merge_axes(notes.channels, [inside, counted], sizes[::-1])
    notes.note(result, labels)


def im2col(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    window = prod(arguments[1])
    merged = merge_axes(notes.channels, [labels[1], None], [arguments[0].shape[1], window])
    notes.note(result, [labels[0], merged, None])


def col2im(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    channels, inside = split_axis(notes.channels, labels[1], [result.shape[1], prod(arguments[2])])
    notes.channels.keep(inside, "kept: becomes pixels")
    notes.note(result, [labels[0], channels, *[None] * (result.ndim - 2)])


def glu(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    axis = arguments[1] % result.ndim
    label = labels[axis]
    if label is not None:
        half = len(label) // 2
        labels[axis] = notes.channels.couple(label[:half], label[half:], "kept: gated by a constant")
    notes.note(result, labels)
