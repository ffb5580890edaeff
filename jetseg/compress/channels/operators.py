"""What each operator of torch does to the channels of its tensors: one rule for each.

An operator without a rule fixes all that it touches: what is not understood stays. Only operators that reach a dispatch
mode on the CPU are here; torch composes the others of these.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from jetseg.compress.channels import mixing, moving
from jetseg.compress.channels.notes import Arguments, Notes, Rule, tensors_in

logger = logging.getLogger(__name__)


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
            mixing.pointwise(notes, inputs, output)
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


_MIXING = "kept: reduced over its channels"


_POINTWISE = frozenset({"hardswish", "_prelu_kernel", "copy", "_to_copy", "fill", "masked_fill", "log_sigmoid_forward"})


_SPATIAL = [
    "avg_pool2d",
    "max_pool2d_with_indices",
    "_adaptive_avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool1d",
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
    **dict.fromkeys(_SPATIAL, mixing.spatial),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "squeeze"), moving.view),
    **dict.fromkeys(
        (
            *("alias", "detach", "clone", "lift_fresh", "native_dropout", "bernoulli"),
            *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
        ),
        moving.like,
    ),
    **dict.fromkeys(("sum", "linalg_vector_norm", "norm"), mixing.reduce("")),
    **dict.fromkeys(
        ("mean", "amax", "amin", "prod", "var", "std", "var_mean", "logsumexp", "any", "all"), mixing.reduce(_MIXING)
    ),
    **dict.fromkeys(("max", "min", "argmax", "argmin"), mixing.reduce(_MIXING)),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax", "cumsum", "cumprod"), mixing.along(1)),
    **dict.fromkeys(
        (
            *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
            *("_batch_norm_with_update", "_batch_norm_no_update"),
        ),
        mixing.batch_norm,
    ),
    "_scaled_dot_product_flash_attention_for_cpu": mixing.attention,
    "permute": moving.permute,
    "transpose": moving.transpose,
    "t": moving.transpose,
    "unsqueeze": moving.unsqueeze,
    "expand": moving.expand,
    "slice": moving.cut,
    "select": moving.select,
    "split": moving.split,
    "split_with_sizes": moving.split,
    "unbind": moving.unbind,
    "cat": moving.cat,
    "stack": moving.stack,
    "flip": moving.flip,
    "roll": moving.roll,
    "constant_pad_nd": moving.pad,
    "repeat": moving.repeat,
    "index": moving.index,
    "embedding": moving.embedding,
    "index_select": moving.index_select,
    "convolution": mixing.convolution,
    "native_layer_norm": mixing.layer_norm,
    "native_group_norm": mixing.group_norm,
    "_weight_norm_interface": mixing.weight_norm,
    "mm": mixing.matmul(0, 1),
    "mv": mixing.matmul(0, 1),
    "addmm": mixing.matmul(1, 2),
    "bmm": mixing.matmul(0, 1, heads=True),
    "baddbmm": mixing.matmul(1, 2, heads=True),
    "max_unpool2d": mixing.max_unpool,
    "glu": moving.glu,
    "pixel_shuffle": moving.pixel_shuffle,
    "pixel_unshuffle": moving.pixel_unshuffle,
    "channel_shuffle": moving.channel_shuffle,
    "im2col": moving.im2col,
    "col2im": moving.col2im,
}
