"""Counts the parameters and multiply-accumulates of a torch module."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jetseg.onnx.cost import Cost


def module_cost(module: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Counts what `jetseg.onnx.cost.onnx_cost` counts, before export folds batch norms away.

    Layers that do not run in eval mode, such as auxiliary heads, do not count.

    Args:
        module: The network, in eval mode.
        input_shape: Shape of its float32 input, N x C x H x W.

    >>> module_cost(nn.Conv2d(3, 8, 1).eval(), (1, 3, 4, 4))
    Cost(parameters=32, macs=384)
    """
    used: dict[nn.Parameter, int] = {}

    def remember(layer: nn.Module, _inputs: object, _output: object) -> None:
        used.update((weight, weight.numel()) for weight in layer.parameters(recurse=False))

    with ExitStack() as hooks, torch.no_grad():
        for layer in module.modules():
            hooks.enter_context(layer.register_forward_hook(remember))
        with FlopCounterMode(display=False) as counter:
            module(torch.zeros(input_shape))
    # torch counts a multiply and an add apart
    return Cost(parameters=sum(used.values()), macs=counter.get_total_flops() // 2)
