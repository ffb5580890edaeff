"""The optimizer and the learning rate over a run."""

from __future__ import annotations

from fnmatch import fnmatch

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from jetseg.errors import ConfigError
from jetseg.training.config import TrainConfig

NETWORK_PREFIX = "network."
"""Of the names in a student that also holds an adapter; settings name the network's own parts."""


def make_optimizer(module: nn.Module, config: TrainConfig) -> Optimizer:
    """Builds SGD or AdamW; weight decay acts on convolutions and linear layers, not on vectors.

    Raises:
        ConfigError: Nothing is left to train, or a pattern of `lr_factors` fits no weight.
    """
    names = [name.removeprefix(NETWORK_PREFIX) for name, _ in module.named_parameters()]
    strangers = [pattern for pattern in config.lr_factors if not any(fnmatch(name, pattern) for name in names)]
    if strangers:
        raise ConfigError(f"lr_factors: no weight is named {strangers[0]!r}.", f"Names are like {names[0]!r}.")
    sorted_in: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, (_, parameter) in zip(names, module.named_parameters(), strict=True):
        if parameter.requires_grad:
            sorted_in.setdefault((_lr_factor(name, config.lr_factors), parameter.ndim > 1), []).append(parameter)
    if not sorted_in:
        raise ConfigError("Everything is frozen, so there is nothing to train.", "Correct freeze.")
    groups = [
        {"params": parameters, "weight_decay": config.weight_decay if decays else 0.0, "lr_factor": factor}
        for (factor, decays), parameters in sorted_in.items()
    ]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    return AdamW(groups, lr=config.lr)


def _lr_factor(name: str, factors: dict[str, float]) -> float:
    return next((factor for pattern, factor in factors.items() if fnmatch(name, pattern)), 1.0)


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Returns the learning rate of one step: a linear rise, then (1 - progress)^power.

    Args:
        config: Settings.
        step: 0 to `steps` - 1.
        steps: Steps of the whole run.
    """
    warmup = config.warmup_fraction * steps
    rise = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    return float(config.lr * rise * (1.0 - step / steps) ** config.power)


def set_learning_rate(optimizer: Optimizer, value: float) -> None:
    """Sets the learning rate, times its factor, of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("lr_factor", 1.0)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Returns the moments as named tensors, "INDEX.NAME"."""
    return {
        f"{index}.{name}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Puts the moments back, each in the memory layout of its weight.

    Optimizers walk over weight and moments in memory order, so another layout would mix up elements.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        value = tensor
        if tensor.shape == parameter.shape and tensor.ndim > 0:
            value = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
