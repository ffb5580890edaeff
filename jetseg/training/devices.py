"""Devices and processes of a run, through Lightning Fabric."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import cv2
import torch

from jetseg.errors import ConfigError, MissingDependencyError
from jetseg.models import is_foreign
from jetseg.network import load_manifest
from jetseg.storage import writing
from jetseg.training.config import TrainConfig
from jetseg.training.loggers import open_loggers
from jetseg.training.state import STATE_NAME

try:
    import lightning_fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("lightning_fabric", "train", "runs the training loop") from error

_LOG = logging.getLogger(__name__)

_NOT_REPEATABLE = re.compile(r"(\S+) does not have a deterministic implementation")
"""How torch begins to say so."""


def open_fabric(config: TrainConfig) -> lightning_fabric.Fabric:
    """Opens the devices of a run and starts its other processes, if there are any.

    Raises:
        ConfigError: The device or the precision does not exist here.
    """
    devices, nodes = _processes(config)
    try:
        fabric = lightning_fabric.Fabric(
            accelerator=config.accelerator,
            strategy=_strategy(config, devices * nodes),
            devices=devices,
            num_nodes=nodes,
            precision=config.precision,  # type: ignore[arg-type]
            loggers=open_loggers(config),
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(
            f"accelerator {config.accelerator!r}, devices {devices} and precision "
            f"{config.precision!r} do not work here: {error}",
            "Choose others.",
        ) from error
    fabric.launch()
    if fabric.device.type == "cpu":
        _keep_freed_memory()
    # crops are small: threads of OpenCV cost more than they bring, and a loader process that inherits them hangs
    cv2.setNumThreads(1)
    return fabric


def _processes(config: TrainConfig) -> tuple[int, int]:
    """Returns how many processes run on each machine, and on how many machines; torchrun decides if it started us.

    Told of one device, Lightning would train alone in each of torchrun's processes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return config.devices, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def _strategy(config: TrainConfig, processes: int) -> str:
    """Lets a network from elsewhere have weights that no loss depends on, as those of a boundary head."""
    if processes == 1:
        return "auto"
    parent = None if config.init is None else load_manifest(config.init).model
    foreign = is_foreign(config.model if parent is None else parent.factory)
    return "ddp_find_unused_parameters_true" if foreign else "auto"


def _keep_freed_memory() -> None:
    """Tells glibc to keep the memory of freed tensors, which the next step needs again.

    Otherwise it goes back to the system and comes anew, page by page: a fifth of the time of a small network.
    """
    trim_threshold, mmap_threshold, limit = -1, -3, 1 << 30
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, limit)
        mallopt(trim_threshold, limit)


def only_run(fabric: lightning_fabric.Fabric, folder: Path) -> AbstractContextManager[None]:
    """Keeps other runs away from a folder; of the processes of a run, the first one does.

    Raises:
        ConfigError: Another run writes there.
    """
    return writing(folder / STATE_NAME) if fabric.is_global_zero else nullcontext()


@contextmanager
def deterministic(fabric: lightning_fabric.Fabric) -> Iterator[None]:
    """Makes torch compute the same every time, where that is possible: on the CPU."""
    with repeatable() if fabric.device.type == "cpu" else nullcontext():
        yield


@contextmanager
def repeatable(*, tell: bool = True) -> Iterator[None]:
    """Makes torch compute the same every time; an operation that has no such kernel runs all the same.

    Args:
        tell: Log the name of each such operation, once.
    """
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling fresh memory only shows reads of garbage, and costs 8 % of the time of a small network
    memory.fill_uninitialized_memory = False
    try:
        with _unrepeatable_operations(tell=tell):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


@contextmanager
def _unrepeatable_operations(*, tell: bool) -> Iterator[None]:
    """Turns torch's warnings of operations that are not repeatable into one line of the log for each."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_NOT_REPEATABLE.pattern)
        show_others = warnings.showwarning

        def show(message: Warning | str, *arguments: Any) -> None:  # noqa: ANN401 - as `warnings` calls it
            found = _NOT_REPEATABLE.match(str(message))
            if found is None:
                show_others(message, *arguments)
            elif tell and found[1] not in told:
                told.add(found[1])
                _LOG.warning(
                    "%s has no repeatable kernel in torch: the same settings may give other weights next time.",
                    found[1],
                )

        warnings.showwarning = show  # type: ignore[assignment]
        yield
