"""What each operator of torch does to the channels of its tensors.

A rule reads the labels of the inputs, says which channels meet, and labels the outputs. An operator without a rule
fixes all that it touches: what is not understood stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from jetseg.compress.channels.reshaping import merge_axes, reshape_labels, split_axis
from jetseg.compress.channels.variables import Channels, Label

Labels = list[Label]

logger = logging.getLogger(__name__)


class Notes(Protocol):
    """What rules read and write: the labels of tensors."""

    channels: Channels

    def labels(self, tensor: Tensor) -> Labels:
        """Returns one label per axis of a tensor."""
        ...

    def note(self, tensor: Tensor, labels: Sequence[Label]) -> None:
        """Writes the labels of a tensor down; axes of one index only get none."""
        ...

    def fix(self, tensor: Tensor, reason: str) -> None:
        """Says that nothing of a tensor may go."""
        ...


class Arguments(list[Any]):
    """All arguments of a call by position, defaults included; `dim` is the one of that name."""

    def __init__(self, schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:  # noqa: ANN401
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        super().__init__(given.get(argument.name, argument.default_value) for argument in schema.arguments)
        self.dim = dict(zip(names, self, strict=True)).get("dim")


Rule = Callable[[Notes, Arguments, Any], None]
"""Takes the notes, the arguments of a call, and its result."""


def propagate(notes: Notes, operator: Any, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    """Follows channels through one call of an operator.

    Args:
        notes: Labels of all tensors so far.
        operator: Overload of `torch.ops`.
        arguments: What it was called with.
        result: What it returned.
    """
    inputs = tensors_in(arguments)
    name = operator._schema.name.removeprefix("aten::").rstrip("_")
    if name != "expand" and not any(label is not None for tensor in inputs for label in notes.labels(tensor)):
        return
    if torch.Tag.pointwise in operator.tags or name in _POINTWISE:
        for output in tensors_in([result]):
            _pointwise(notes, inputs, output)
    elif name in _RULES:
        try:
            _RULES[name](notes, arguments, result)
        except Exception as error:  # a form of the operator that its rule does not know
            logger.debug("no rule for this form of %s: %r", operator, error)
            for tensor in inputs:
                notes.fix(tensor, f"kept: read by {name}")
    else:
        for tensor in inputs:
            notes.fix(tensor, f"kept: read by {name}")


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """Returns the tensors of a nest of lists, tuples and mappings."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Mapping):
            found += tensors_in(value.values())
        elif isinstance(value, (list, tuple)):
            found += tensors_in(value)
    return found


def _pointwise(notes: Notes, inputs: Sequence[Tensor], output: Tensor) -> None:
    """Couples axes that meet in a broadcast."""
    labels: Labels = []
    for axis in range(-output.ndim, 0):
        met = [notes.labels(tensor)[axis] for tensor in inputs if -axis <= tensor.ndim and tensor.shape[axis] != 1]
        label = met[0] if met else None
        for other in met[1:]:
            label = notes.channels.couple(label, other, "kept: meets a constant of the code")
        labels.append(label)
    notes.note(output, labels)


def _like(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    for output in tensors_in([result]):
        notes.note(output, notes.labels(arguments[0]))


def _view(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source = arguments[0]
    notes.note(result, reshape_labels(notes.channels, notes.labels(source), source.shape, result.shape))


def _permute(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    notes.note(result, [labels[axis] for axis in arguments[1]])


def _transpose(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    first, second = arguments[1:3] if len(arguments) > 1 else (0, -1)
    if labels:
        labels[first], labels[second] = labels[second], labels[first]
    notes.note(result, labels)


def _unsqueeze(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    labels.insert(arguments[1] % result.ndim, None)
    notes.note(result, labels)


def _expand(notes: Notes, arguments: Arguments, result: Tensor) -> None:
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


def _slice(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, axis, start, end, step = arguments
    labels = notes.labels(source)
    label = labels[axis]
    if label is not None:
        taken = slice(start, end, step)
        if step != 1:
            notes.channels.keep(label, "kept: every other channel is read")
        labels[axis] = label[taken]
    notes.note(result, labels)


def _select(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, axis = arguments[:2]
    labels = notes.labels(source)
    notes.channels.keep(labels.pop(axis), "kept: read by its number")
    notes.note(result, labels)


def _split(notes: Notes, arguments: Arguments, result: Sequence[Tensor]) -> None:
    labels = notes.labels(arguments[0])
    axis = arguments[2] % len(labels)
    start = 0
    for part in result:
        own, label = list(labels), labels[axis]
        own[axis] = None if label is None else label[start : start + part.shape[axis]]
        notes.note(part, own)
        start += part.shape[axis]


def _unbind(notes: Notes, arguments: Arguments, result: Sequence[Tensor]) -> None:
    for part in result:
        _select(notes, arguments, part)


def _cat(notes: Notes, arguments: Arguments, result: Tensor) -> None:
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


def _stack(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0][0])
    for tensor in arguments[0][1:]:
        others = notes.labels(tensor)
        labels = [
            notes.channels.couple(a, b, "kept: stacked on a constant") for a, b in zip(labels, others, strict=True)
        ]
    labels.insert(arguments[1] % result.ndim, None)
    notes.note(result, labels)


def _flip(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    for axis in arguments[1]:
        label = labels[axis]
        labels[axis] = None if label is None else label[::-1].copy()
    notes.note(result, labels)


def _roll(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, shifts, axes = arguments
    labels = notes.labels(source)
    if not axes:
        notes.fix(source, "kept: rolled as one row")
        return
    for shift, axis in zip(shifts, axes, strict=True):
        label = labels[axis]
        labels[axis] = None if label is None else np.roll(label, shift)
    notes.note(result, labels)


def _pad(notes: Notes, arguments: Arguments, result: Tensor) -> None:
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


def _repeat(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, times = arguments
    labels = [None] * (result.ndim - source.ndim) + notes.labels(source)
    for axis, label in enumerate(labels):
        if label is not None:
            labels[axis] = np.tile(label, times[axis])
    notes.note(result, labels)


def _index(notes: Notes, arguments: Arguments, result: Tensor) -> None:
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


def _embedding(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    weight = notes.labels(arguments[0])
    notes.channels.keep(weight[0], "kept: read by numbers of the code")
    notes.note(result, [*[None] * (result.ndim - 1), weight[1]])


def _index_select(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    notes.channels.keep(labels[arguments[1]], "kept: read by numbers of the code")
    labels[arguments[1]] = None
    notes.note(result, labels)


def _convolution(notes: Notes, arguments: Arguments, result: Tensor) -> None:
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


def _batch_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    labels = notes.labels(arguments[0])
    for vector in arguments[1:5]:
        if isinstance(vector, Tensor):
            labels[1] = notes.channels.couple(labels[1], notes.labels(vector)[0], "kept: normalized by a constant")
    notes.note(result[0], labels)


def _layer_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    source, normalized, *vectors = arguments
    labels = notes.labels(source)
    for k in range(len(labels) - len(normalized), len(labels)):
        notes.channels.keep(labels[k], "kept: normalized together by a layer norm")
    for vector in tensors_in(vectors):
        notes.fix(vector, "kept: layer norm")
    notes.note(tensors_in([result])[0], labels)


def _group_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    source, weight, bias, _, _, _, groups, _ = arguments
    labels = notes.labels(source)
    if weight is None:
        notes.channels.keep(labels[1], "kept: group norm")
    _groups(notes, labels[1], groups, "kept: group norm")
    for vector in (weight, bias):
        if isinstance(vector, Tensor):
            labels[1] = notes.channels.couple(labels[1], notes.labels(vector)[0], "kept: group norm")
    notes.note(result[0], labels)


def _weight_norm(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    direction, size, axis = arguments
    labels = notes.labels(direction)
    for k, label in enumerate(labels):
        if k != axis:
            notes.channels.keep(label, "kept: its weights are normalized together")
    labels[axis] = notes.channels.couple(labels[axis], notes.labels(size)[axis], "kept: weight norm")
    notes.note(result[0], labels)


def _matmul(first: int, second: int, *, heads: bool = False) -> Rule:
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
            _pointwise(notes, [arguments[0], result], result)

    return rule


def _attention(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
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


def _reduce(mixes: str) -> Rule:
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


def _along(position: int) -> Rule:
    """Makes the rule of what runs along one axis, as softmax does; that axis must stay."""

    def rule(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
        labels = notes.labels(arguments[0])
        axis = arguments[position]
        notes.channels.keep(labels[axis], "kept: runs over its channels")
        for output in tensors_in([result]):
            notes.note(output, labels)

    return rule


def _spatial(notes: Notes, arguments: Arguments, result: Any) -> None:  # noqa: ANN401
    """Pooling, resizing and the like work on each channel alone, along the axes behind it."""
    labels = notes.labels(arguments[0])
    for label in labels[2:]:
        notes.channels.keep(label, "kept: resized or pooled over")
    for tensor in tensors_in(arguments[1:]):
        notes.fix(tensor, "kept: steers a resampling")
    for output in tensors_in([result]):
        notes.note(output, [*labels[:2], *[None] * (output.ndim - 2)])


def _max_unpool(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = [
        notes.channels.couple(a, b, "kept: unpooled by a constant")
        for a, b in zip(notes.labels(arguments[0])[:2], notes.labels(arguments[1])[:2], strict=True)
    ]
    notes.note(result, [*labels, *[None] * (result.ndim - 2)])


def _glu(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    axis = arguments[1] % result.ndim
    label = labels[axis]
    if label is not None:
        half = len(label) // 2
        labels[axis] = notes.channels.couple(label[:half], label[half:], "kept: gated by a constant")
    notes.note(result, labels)


def _pixel_shuffle(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, factor = arguments
    labels = notes.labels(source)
    channels, *inside = split_axis(notes.channels, labels[-3], [result.shape[-3], factor, factor])
    for label in inside:
        notes.channels.keep(label, "kept: becomes pixels")
    notes.note(result, [*labels[:-3], channels, None, None])


def _pixel_unshuffle(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    factor = arguments[1]
    merged = merge_axes(notes.channels, [labels[-3], None, None], [arguments[0].shape[-3], factor, factor])
    notes.note(result, [*labels[:-3], merged, None, None])


def _channel_shuffle(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    source, groups = arguments
    labels = notes.labels(source)
    sizes = [groups, source.shape[1] // groups]
    counted, inside = split_axis(notes.channels, labels[1], sizes)
    notes.channels.keep(counted, "kept: shuffled")
    labels[1] = merge_axes(notes.channels, [inside, counted], sizes[::-1])
    notes.note(result, labels)


def _im2col(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    window = prod(arguments[1])
    merged = merge_axes(notes.channels, [labels[1], None], [arguments[0].shape[1], window])
    notes.note(result, [labels[0], merged, None])


def _col2im(notes: Notes, arguments: Arguments, result: Tensor) -> None:
    labels = notes.labels(arguments[0])
    channels, inside = split_axis(notes.channels, labels[1], [result.shape[1], prod(arguments[2])])
    notes.channels.keep(inside, "kept: becomes pixels")
    notes.note(result, [labels[0], channels, *[None] * (result.ndim - 2)])


_MIXING = "kept: reduced over its channels"
_POINTWISE = frozenset({"hardswish", "_prelu_kernel", "copy", "_to_copy", "fill", "masked_fill", "log_sigmoid_forward"})
_SPATIAL = [
    "avg_pool2d",
    "max_pool2d_with_indices",
    "_adaptive_avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "max_pool1d",
    "max_pool2d",
    "mkldnn_max_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_upsample_nearest_exact2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
    "reflection_pad2d",
    "replication_pad2d",
    "reflection_pad1d",
    "replication_pad1d",
    "grid_sampler_2d",
    "upsample_nearest1d",
    "upsample_linear1d",
]
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SPATIAL, _spatial),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unflatten"), _view),
    **dict.fromkeys(
        (
            *("alias", "detach", "clone", "lift_fresh", "contiguous", "native_dropout", "dropout", "bernoulli"),
            *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "view_as_real"),
        ),
        _like,
    ),
    **dict.fromkeys(("sum", "linalg_vector_norm", "norm"), _reduce("")),
    **dict.fromkeys(
        ("mean", "amax", "amin", "prod", "var", "std", "var_mean", "logsumexp", "any", "all"), _reduce(_MIXING)
    ),
    **dict.fromkeys(("max", "min", "argmax", "argmin"), _reduce(_MIXING)),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax", "cumsum", "cumprod"), _along(1)),
    **dict.fromkeys(
        (
            *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
            *("_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm"),
        ),
        _batch_norm,
    ),
    **dict.fromkeys(
        (
            *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math"),
            "scaled_dot_product_attention",
        ),
        _attention,
    ),
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "split": _split,
    "split_with_sizes": _split,
    "unbind": _unbind,
    "cat": _cat,
    "stack": _stack,
    "flip": _flip,
    "roll": _roll,
    "constant_pad_nd": _pad,
    "repeat": _repeat,
    "index": _index,
    "embedding": _embedding,
    "index_select": _index_select,
    "convolution": _convolution,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_weight_norm_interface": _weight_norm,
    "mm": _matmul(0, 1),
    "mv": _matmul(0, 1),
    "addmm": _matmul(1, 2),
    "bmm": _matmul(0, 1, heads=True),
    "baddbmm": _matmul(1, 2, heads=True),
    "max_unpool2d": _max_unpool,
    "glu": _glu,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "native_channel_shuffle": _channel_shuffle,
    "channel_shuffle": _channel_shuffle,
    "im2col": _im2col,
    "col2im": _col2im,
}
