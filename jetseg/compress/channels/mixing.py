"""Operators that compute with channels: arithmetic, convolutions, products, norms, reductions, pooling.

Each function is the rule of the operator of its name, or makes it: it reads the labels
of the inputs, says which channels meet or must stay, and labels the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from jetseg.compress.channels.notes import Arguments, Labels, Notes, Rule, tensors_in
from jetseg.compress.channels.reshaping import merge_axes, split_axis
from jetseg.compress.channels.variables import Label


def pointwise(notes: Notes, inputs: Sequence[Tensor], output: Tensor) -> None:
    """Couples axes that meet in a broadcast."""
    labels: Labels = []
    for axis in range(-output.ndim, 0):
        met = [notes.labels(tensor)[axis] for tensor in inputs if -axis <= tensor.ndim and tensor.shape[axis] != 1]
        label = met[0] if met else None
        for other in met[1:]:
            label = notes.channels.couple(label, other, "kept: meets a constant of the code")
        labels.append(label)
    notes.note(output, labels)


def convolution(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, weight, bias, _, _, _, transposed, _, groups = arguments
    channels = notes.channels
    inputs, (first, second) = notes.labels(source), notes.labels(weight)[:2]
    for label in (*inputs[2:], *notes.labels(weight)[2:]):
        channels.keep(label, "kept: convolved over")
    if groups == 1:
        reading, output = (first, second) if transposed else (second, first)
        channels.couple(inputs[1], reading, "kept: convolution over a constant")
    else:
        # whole groups can go; each keeps its inputs and outputs
        channels.keep(second, "kept: grouped convolution")
        counted = _groups(notes, first, groups, "kept: grouped convolution")
        channels.couple(
            _groups(notes, inputs[1], groups, "kept: grouped convolution"), counted, "kept: grouped convolution"
        )
        output = merge_axes(channels, [counted, None], [groups, result.shape[1] // groups])
        if not transposed:
            channels.couple(output, first, "kept: grouped convolution")
    if bias is not None:
        channels.couple(output, notes.labels(bias)[0], "kept: biased by a constant")
    notes.note(result, [inputs[0], output, *[None] * (result.ndim - 2)])


def _groups(notes: Notes, label: Label, groups: int, reason: str) -> Label:
    """Returns the label of the groups that an axis of channels consists of, and fixes what is inside a group."""
    if label is None:
        return None
    counted, inside = split_axis(notes.channels, label, [groups, len(label) // groups])
    notes.channels.keep(inside, reason)
    if counted is None:
        notes.channels.keep(label, reason)
    return counted


def batch_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    labels = notes.labels(arguments[0])
    for vector in arguments[1:5]:
        if isinstance(vector, Tensor):
            labels[1] = notes.channels.couple(labels[1], notes.labels(vector)[0], "kept: normalized by a constant")
    notes.note(result[0], labels)


def layer_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    source, normalized, *vectors = arguments
    labels = notes.labels(source)
    for k in range(len(labels) - len(normalized), len(labels)):
        notes.channels.keep(labels[k], "kept: normalized together by a layer norm")
    for vector in tensors_in(vectors):
        notes.fix(vector, "kept: layer norm")
    notes.note(tensors_in([result])[0], labels)


def group_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    source, weight, bias, _, _, _, groups, _ = arguments
    labels = notes.labels(source)
    if weight is None:
        notes.channels.keep(labels[1], "kept: group norm")
    _groups(notes, labels[1], groups, "kept: group norm")
    for vector in (weight, bias):
        if isinstance(vector, Tensor):
            labels[1] = notes.channels.couple(labels[1], notes.labels(vector)[0], "kept: group norm")
    notes.note(result[0], labels)


def weight_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    direction, size, axis = arguments
    labels = notes.labels(direction)
    for k, label in enumerate(labels):
        if k != axis:
            notes.channels.keep(label, "kept: its weights are normalized together")
    labels[axis] = notes.channels.couple(labels[axis], notes.labels(size)[axis], "kept: weight norm")
    notes.note(result[0], labels)


def matmul(first: int, second: int, *, heads: bool = False) -> Rule:
    """Makes the rule of a matrix product whose factors are these arguments; `heads` if it has a batch axis."""

    def rule(notes: Notes, arguments: Arguments, result: Tensor) -> None:
        left, right = notes.labels(arguments[first]), notes.labels(arguments[second])
        notes.channels.couple(left[-1], right[-2] if len(right) > 1 else right[-1], "kept: multiplied with a constant")
        labels = left[:-1] + ([right[-1]] if len(right) > 1 else [])
        if heads:
            labels[0] = notes.channels.couple(left[0], right[0], "kept: multiplied with a constant")
            notes.channels.are_heads(labels[0])
        notes.note(result, labels)
        if first > 0:
            pointwise(notes, [arguments[0], result], result)

    return rule


def attention(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    query, key, value = (notes.labels(tensor) for tensor in arguments[:3])
    labels = [*query[:-1], value[-1]]
    for k in range(len(query) - 2):
        labels[k] = notes.channels.couple(labels[k], key[k], "kept: attends to a constant")
        labels[k] = notes.channels.couple(labels[k], value[k], "kept: attends to a constant")
        notes.channels.are_heads(labels[k])
    notes.channels.couple(key[-2], value[-2], "kept: attends to a constant")
    for label in (query[-1], key[-1]):
        notes.channels.keep(label, "kept: the scale of the attention counts its channels")
    for extra in tensors_in(arguments[3:]):
        mask = notes.labels(extra)
        for k in range(-extra.ndim, -2):
            if extra.shape[k] != 1:
                labels[k] = notes.channels.couple(labels[k], mask[k], "kept: masked by a constant")
        for label in mask[-2:]:
            notes.channels.keep(label, "kept: masks an attention")
    notes.note(tensors_in([result])[0], labels)


def reduce(mixes: str) -> Rule:
    """Makes the rule of a reduction; `mixes` says why channels that it reduces must stay, "" if they need not."""

    def rule(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
        source, axes = arguments[0], arguments.dim
        if isinstance(axes, int):
            axes = [axes]
        reduced = {axis % source.ndim for axis in axes} if axes else set(range(source.ndim))
        labels = notes.labels(source)
        if mixes:
            for axis in reduced:
                notes.channels.keep(labels[axis], mixes)
        for output in tensors_in([result]):
            if output.ndim == source.ndim:
                notes.note(output, [None if k in reduced else label for k, label in enumerate(labels)])
            else:
                notes.note(output, [label for k, label in enumerate(labels) if k not in reduced])

    return rule


def along(position: int) -> Rule:
    """Makes the rule of what runs along one axis, as softmax does; that axis must stay."""

    def rule(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
        labels = notes.labels(arguments[0])
        axis = arguments[position]
        notes.channels.keep(labels[axis], "kept: runs over its channels")
        for output in tensors_in([result]):
            notes.note(output, labels)

    return rule


def spatial(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    """Pooling, resizing and the like work on each channel alone, along the axes behind it."""
    labels = notes.labels(arguments[0])
    for label in labels[2:]:
        notes.channels.keep(label, "kept: resized or pooled over")
    for tensor in tensors_in(arguments[1:]):
        notes.fix(tensor, "kept: steers a resampling")
    for output in tensors_in([result]):
        notes.note(output, [*labels[:2], *[None] * (output.ndim - 2)])


def max_unpool(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = [
        notes.channels.couple(a, b, "kept: unpooled by a constant")
        for a, b in zip(notes.labels(arguments[0])[:2], notes.labels(arguments[1])[:2], strict=True)
    ]
    notes.note(result, [*labels, *[None] * (result.ndim - 2)])
