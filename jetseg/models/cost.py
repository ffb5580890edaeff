"""Counts the parameters and multiply-accumulates of a torch module."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jetseg.evaluate.macs import Cost


def module_cost(module: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Counts what `jetseg.evaluate.macs.onnx_cost` counts, before export.

    Args:
        module: The network, in eval mode.
        input_shape: Shape of its float32 input, N x C x H x W.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(input_shape))
    # torch counts a multiply and an add apart
    return Cost(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=counter.get_total_flops() // 2,
    )
