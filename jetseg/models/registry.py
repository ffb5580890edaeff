"""Finds a network by its registry name or by `package.module:factory`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest import ModelSpec
from jetseg.registry import NETWORKS
from jetseg.trust import SETTINGS_PLACE, is_trusted, named_factories, settings_file, trust

_MOST_WEIGHTS = 300_000_000
"""Of a network that a file describes; a large one for a camera has 30 million."""


def create_model(factory: str, num_classes: int, in_channels: int = 3, **options: Any) -> nn.Module:  # noqa: ANN401 - belongs to the network
    """Builds a network that the user names, with fresh weights.

    Files may name it from then on, in this process.

    Args:
        factory: A name from `model_names()`, or `package.module:factory` of your own: a callable that takes
            `num_classes`, `in_channels` and the options, and returns a module. Its forward turns float32
            N x in_channels x H x W into logits N x num_classes x H x W, which it may return among other outputs;
            see `jetseg.models.outputs`.
        num_classes: Channels of the logits.
        in_channels: Channels of the input.
        options: Further arguments of that network, as in `width=24`.

    Raises:
        ConfigError: There is no such network or option, or the factory fails or returns something else.
    """
    if ":" in factory:
        trust((factory,))
    return _build(factory, num_classes, in_channels, options)


def restore_model(spec: ModelSpec, num_classes: int, in_channels: int) -> nn.Module:
    """Builds the network that a file names, with fresh weights.

    No name in a file calls code that the user did not ask for: it must be one of the registry, or a factory that the
    user named in this process or trusts in their settings.

    Raises:
        ArtifactError: It is neither.
        ConfigError: See `create_model`.
    """
    if spec.factory not in NETWORKS and not is_trusted(spec.factory):
        raise ArtifactError(
            f"its manifest says that {spec.factory} builds the network, which is neither jetseg's own nor of an "
            "installed package, and a name in a file calls no code that you did not name yourself.",
            f"If you trust {spec.factory}, add `--trust {spec.factory}` to the command (in Python: "
            f"`jetseg.open_network(path, trusted=['{spec.factory}'])`). If its package is installed, you may add it to "
            f"`trusted_factories: ['{spec.factory}']` in {settings_file() or SETTINGS_PLACE} instead.",
        )
    if not is_foreign(spec.factory):
        _check_size(spec, num_classes, in_channels)
    return _build(spec.factory, num_classes, in_channels, spec.options)


def _build(factory: str, num_classes: int, in_channels: int, options: Mapping[str, Any]) -> nn.Module:
    build = _find(factory)
    arguments = {**options, "num_classes": num_classes, "in_channels": in_channels}
    _check_arguments(factory, build, arguments)
    try:
        module = build(**arguments)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"The network {factory} could not be built with {_shown(arguments)}: {type(error).__name__}: {error}.",
            "Correct its options.",
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"The factory {factory} returned {type(module).__name__}, not a torch.nn.Module.",
            "Return the network itself.",
        )
    return module


def _check_size(spec: ModelSpec, num_classes: int, in_channels: int) -> None:
    """Refuses options by which one of jetseg's own networks would fill the memory; no weight is made for that."""
    with torch.device("meta"):
        module = _build(spec.factory, num_classes, in_channels, spec.options)
    count = sum(weight.numel() for weight in module.parameters())
    if count > _MOST_WEIGHTS:
        raise ArtifactError(
            f"its manifest describes {spec.factory} with {count / 1e6:,.0f} million weights, and "
            f"{_MOST_WEIGHTS / 1e6:,.0f} million are the most.",
            "Do not use it: its options were changed.",
        )


def is_foreign(factory: str) -> bool:
    """Tells whether a network is not one of jetseg's own."""
    return factory not in NETWORKS.own


def takes_option(factory: str, name: str) -> bool:
    """Tells whether a network, named by the user, can be given an option."""
    if ":" in factory:
        trust((factory,))
    try:
        parameters = inspect.signature(_find(factory)).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have no signature
        return False
    return any(each.name == name or each.kind is each.VAR_KEYWORD for each in parameters)


def model_names() -> tuple[str, ...]:
    """Returns the names of all networks, those that other packages bring included."""
    return NETWORKS.names()


def _find(factory: str) -> Callable[..., Any]:
    if factory in NETWORKS:
        found: Callable[..., Any] = NETWORKS.get(factory)
        return found
    module_name, colon, attribute = factory.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(
            f"There is no network named {factory!r}.",
            f"Take one of {', '.join(model_names())}, or name your own as package.module:factory.",
        )
    try:
        with _current_folder_importable() if factory in named_factories() else nullcontext():
            module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"The module {module_name} of the network {factory} could not be imported: "
            f"{type(error).__name__}: {error}.",
            "Run from the folder that holds it and name it yourself (`model`, `trust`), or install it.",
        ) from error
    build = getattr(module, attribute, None)
    if not callable(build):
        raise ConfigError(
            f"The module {module_name} ({module.__file__}) has no factory named {attribute}.",
            "Check the name behind the colon.",
        )
    return build  # type: ignore[no-any-return]


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Lets a user's own module be found beside the files that they work on, as `python -m` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _check_arguments(factory: str, build: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):  # some callables written in C have none; calling them will tell
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"The network {factory} cannot be called with {_shown(arguments)}: {error}.",
            f"It takes {', '.join(signature.parameters)}. Where it cannot take num_classes and in_channels, name a "
            "function of your own that does and calls it.",
        ) from error


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
