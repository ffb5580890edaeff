"""A network in training mode, of which only the auxiliary heads tell that it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode


@contextmanager
def training_heads(module: nn.Module) -> Iterator[None]:
    """Sets training mode, so that auxiliary heads run, but freezes what depends on the batch or on chance.

    In the end the network is in eval mode.
    """
    module.train()
    for part in module.modules():
        drops = "drop" in type(part).__name__.lower() and not any(part.children())
        if drops or isinstance(part, _NormBase):
            part.training = False
    try:
        with _WithoutDropout():
            yield
    finally:
        module.eval()


class _WithoutDropout(TorchFunctionMode):
    """Takes chance out of functions that drop values, which a layer's own mode does not reach."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        del types
        if func not in _DROPPING:
            return func(*args, **(kwargs or {}))
        bound = signature(func).bind(*args, **(kwargs or {}))
        bound.arguments["training"] = False
        return func(*bound.args, **bound.kwargs)


_DROPPING = frozenset({F.dropout, F.dropout2d, F.alpha_dropout, F.multi_head_attention_forward})
