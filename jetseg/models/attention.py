"""Torch's multi-head attention, written so that heads can be taken from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_RARE = ("bias_k", "bias_v", "key_padding_mask", "static_k", "static_v")
_SIGNATURE = signature(F.multi_head_attention_forward)


def can_be_thinned(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tells whether `attention_by_heads` knows a form of `multi_head_attention_forward`."""
    given = _bound(args, kwargs)
    plain = given["in_proj_weight"] is not None and given["query"].ndim == 3
    return plain and all(
        given[name] is None for name in ("bias_k", "bias_v", "key_padding_mask", "static_k", "static_v")
    )


def attention_by_heads(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Computes what `torch.nn.functional.multi_head_attention_forward` does with these arguments.

    That function checks that query and weights have as many channels, and its inside cannot be reached from a function
    mode; here the heads are an axis of their own.

    Returns:
        Tokens, length x batch x channels; and the weights, batch x length x length or with heads, if they are needed.
    """
    given = _bound(args, kwargs)
    heads, channels = given["num_heads"], given["embed_dim_to_check"]
    weights = given["in_proj_weight"].chunk(3)
    biases = [None] * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
    sources = (given["query"], given["key"], given["value"])
    query, key, value = (
        torch.unflatten(F.linear(source, weight, bias), -1, (heads, channels // heads)).permute(1, 2, 0, 3)
        for source, weight, bias in zip(sources, weights, biases, strict=True)
    )
    scores = query @ key.transpose(-2, -1) * (channels // heads) ** -0.5
    mask = given["attn_mask"]
    if mask is not None:
        mask = mask if mask.ndim == 2 else mask.reshape(-1, heads, *mask.shape[1:])
        scores = scores.masked_fill(mask, float("-inf")) if not mask.is_floating_point() else scores + mask
    shares = F.dropout(scores.softmax(-1), given["dropout_p"], given["training"])
    mixed = (shares @ value).permute(2, 0, 1, 3).flatten(2)
    tokens = F.linear(mixed, given["out_proj_weight"], given["out_proj_bias"])
    if not given["need_weights"]:
        return tokens, None
    return tokens, shares.sum(1) / heads if given["average_attn_weights"] else shares


def _bound(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments
