"""Numbers of channels that a network's code states, as in `x.view(n, 8, 32, h, w)` or `x.split(64, 1)`.

A pruned network runs the code of the dense one. Where that code computes its sizes from its inputs, they are right by
themselves; where it states the dense network's, the pruned one's are put in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jetseg.errors import ArtifactError
from jetseg.manifest import StatedSizes
from jetseg.models.attention import attention_by_heads, can_be_thinned

Calls = dict[int, dict[int, tuple[int, int]]]
"""By the number of a call among those that state sizes, in one run of a module, and by the place of a number in it:
what the code states, and what holds."""
Mode = Literal["eval", "train"]
Kind = Literal["shape", "parts", "bounds", "padding", "shifts"]

ABSENT = -(1 << 31)
"""Stands for a number that the code does not state: fewer channels are cut into fewer parts."""
_ATTRIBUTE = "_stated_sizes"


@dataclass(frozen=True)
class Statement:
    """Sizes that one call states.

    Attributes:
        kind: "shape": sizes of the result's axes, -1 for what follows from the others. "parts": sizes of the parts of
            one axis. "bounds": start and stop, in pairs. "padding": widths in front and behind, in pairs. "shifts": by
            how much a tensor is rolled.
        numbers: As stated; bounds and parts are completed.
        axes: The axis that each number, or each pair, is about.
        call: Calls with other numbers.
    """

    kind: Kind
    numbers: list[int]
    axes: list[int]
    call: Callable[[list[int]], Any]


def statement(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    """Returns the sizes that a call of a torch function states; None if it is of no such kind."""
    read = _READERS.get(function)
    return None if read is None or not isinstance(args[0], Tensor) else read(function, args, kwargs)


def state_sizes_(module: nn.Module, sizes: StatedSizes) -> None:
    """Makes a network's code state other sizes from now on, beside those that it was told before.

    Args:
        module: A network whose weights were pruned.
        sizes: What `learning_sizes` found, or a manifest holds; copies of the network keep it.

    Raises:
        ArtifactError: A module is not there.
    """
    parts = dict(module.named_modules())
    for name, by_mode in sizes.items():
        if name not in parts:
            raise ArtifactError(
                f"The network has no part {name!r}, whose sizes were changed by pruning.",
                "Check the model's name and options in the manifest.",
            )
        part = parts[name]
        if not hasattr(part, _ATTRIBUTE):
            setattr(part, _ATTRIBUTE, {})
            stating = _Stating(_told)
            part.register_forward_pre_hook(stating.enter)
            part.register_forward_hook(stating.leave, always_call=True)
        own = getattr(part, _ATTRIBUTE)
        for mode, calls in by_mode.items():
            own[mode] = {**own.get(mode, {}), **calls}


def stated_sizes(module: nn.Module) -> StatedSizes:
    """Returns all that a network's code was made to state."""
    return {name: getattr(part, _ATTRIBUTE) for name, part in module.named_modules() if hasattr(part, _ATTRIBUTE)}


_WantedByMode = Mapping[Mode, Mapping[int, Sequence[int | None]]]
WantedSizes = Mapping[str, _WantedByMode]
"""By the module's name and mode, per call: the numbers that hold; None where any number does."""


@contextmanager
def learning_sizes(module: nn.Module, wanted: WantedSizes) -> Iterator[StatedSizes]:
    """Finds out where the code of a pruned network, run meanwhile, states sizes that do not hold.

    Args:
        module: The network.
        wanted: What holds.

    Yields:
        What is found, for `state_sizes_`; complete after the runs.
    """
    found: StatedSizes = {}
    with ExitStack() as hooks:
        for name, by_mode in wanted.items():
            stating = _Stating(partial(_learning, by_mode, found.setdefault(name, {})))
            part = module.get_submodule(name)
            hooks.enter_context(part.register_forward_pre_hook(stating.enter))
            hooks.enter_context(part.register_forward_hook(stating.leave, always_call=True))
        yield found
    for name in list(found):
        found[name] = {mode: calls for mode, calls in found[name].items() if calls}
        # an attention whose weights shrank is run by heads, also where all that is stated holds
        if not found[name] and not isinstance(module.get_submodule(name), nn.MultiheadAttention):
            del found[name]


class _Stating:
    """Hooks of one module, which may run inside itself: put a mode around each run.

    Args:
        make_mode: Makes the mode for a run of the module.
    """

    def __init__(self, make_mode: Callable[[nn.Module], TorchFunctionMode]) -> None:
        self._make_mode = make_mode
        self._running: list[TorchFunctionMode] = []

    def enter(self, module: nn.Module, _: Any) -> None:  # noqa: ANN401
        self._running.append(self._make_mode(module))
        self._running[-1].__enter__()  # type: ignore[no-untyped-call]

    def leave(self, *_: Any) -> None:  # noqa: ANN401
        self._running.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]


def _told(module: nn.Module) -> TorchFunctionMode:
    return _SizesMode(getattr(module, _ATTRIBUTE).get(mode_of(module), {}))


def _learning(wanted: _WantedByMode, found: dict[Mode, Calls], module: nn.Module) -> TorchFunctionMode:
    mode = mode_of(module)
    return _LearningMode(wanted.get(mode, {}), found.setdefault(mode, {}))


def mode_of(module: nn.Module) -> Mode:
    """Returns the mode that a module is in; its code may state other sizes in each."""
    return "train" if module.training else "eval"


class StatementsMode(TorchFunctionMode):
    """Sees every call that states sizes; the inside of torch's multi-head attention too."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Is called by torch for every function of its own."""
        del types
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward and can_be_thinned(args, kwargs):
            with self:
                return attention_by_heads(args, kwargs)
        stated = statement(func, args, kwargs)
        call = partial(func, *args, **kwargs)
        return call() if stated is None else self.run(stated, call)

    def run(self, stated: Statement, call: partial[Any]) -> Any:  # noqa: ANN401
        """Makes a call that states sizes, or one in its place; returns what it returns."""
        raise NotImplementedError


class _SizesMode(StatementsMode):
    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls
        self._count = -1

    def run(self, stated: Statement, call: partial[Any]) -> Any:  # noqa: ANN401
        """Makes a call with the sizes that hold."""
        self._count += 1
        numbers = self._corrected(stated)
        return call() if numbers == stated.numbers else stated.call(numbers)

    def _corrected(self, stated: Statement) -> list[int]:
        calls = self._calls.get(self._count, {})
        numbers = stated.numbers + [ABSENT] * (max(calls, default=-1) + 1 - len(stated.numbers))
        for place, (found, holds) in calls.items():
            if numbers[place] == found:
                numbers[place] = holds
        return [number for number in numbers if number != ABSENT]


class _LearningMode(_SizesMode):
    def __init__(self, wanted: Mapping[int, Sequence[int | None]], found: Calls) -> None:
        super().__init__(found)
        self._wanted = wanted

    def _corrected(self, stated: Statement) -> list[int]:
        numbers = zip_longest(stated.numbers, self._wanted.get(self._count, []))
        for place, (given, wanted) in enumerate(numbers):
            number = ABSENT if given is None else given
            inferred = number == -1 and stated.kind == "shape"
            if wanted is not None and number != wanted and not inferred:
                self._calls.setdefault(self._count, {})[place] = (number, wanted)
        return super()._corrected(stated)


def _shape(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    sizes = list(args[1:]) or [value for name, value in kwargs.items() if name in ("size", "shape")]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = list(sizes[0])
    if not all(isinstance(size, int) for size in sizes):
        return None
    return Statement("shape", sizes, list(range(len(sizes))), lambda numbers: function(args[0], numbers))


def _factors(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    axis = _axis(args, kwargs, 1)
    sizes = list(args[2] if len(args) > 2 else kwargs["sizes"])
    return Statement(
        "shape", sizes, [axis + k for k in range(len(sizes))], lambda numbers: function(args[0], axis, tuple(numbers))
    )


def _parts(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement:  # noqa: ANN401
    axis = _axis(args, kwargs, 2, default=0)
    size = args[0].shape[axis]
    stated = args[1] if len(args) > 1 else next(value for name, value in kwargs.items() if name != "dim")
    if function in _CHUNKING:
        stated = max(1, -(-size // stated))
    parts = list(stated) if isinstance(stated, (tuple, list)) else _equal_parts(size, stated)
    return Statement("parts", parts, [axis] * len(parts), lambda numbers: torch.split(args[0], numbers, axis))


def _equal_parts(size: int, part: int) -> list[int]:
    return [min(part, size - start) for start in range(0, size, part)]


def _items(_: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    del kwargs
    source, index = args
    items = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [item for item in items if not isinstance(item, Tensor)]:
        place = next(k for k, item in enumerate(items) if item is Ellipsis)
        taken = sum(_axes_taken(item) for item in items if item is not Ellipsis)
        items[place : place + 1] = [slice(None)] * (source.ndim - taken)
    numbers: list[int] = []
    axes: list[int] = []
    places: list[int] = []
    axis = 0
    for place, item in enumerate(items):
        if isinstance(item, slice) and item.step in (None, 1):
            start, stop, _ = item.indices(source.shape[axis])
            numbers += [start, max(start, stop)]
            axes.append(axis)
            places.append(place)
        axis += _axes_taken(item)

    def call(numbers: list[int]) -> Tensor:
        for k, place in enumerate(places):
            items[place] = slice(numbers[2 * k], numbers[2 * k + 1])
        part: Tensor = source[tuple(items)]
        return part

    return Statement("bounds", numbers, axes, call)


def _axes_taken(item: Any) -> int:  # noqa: ANN401
    if item is None or isinstance(item, bool):
        return 0
    return item.ndim if isinstance(item, Tensor) and item.dtype == torch.bool else 1


def _narrow(_: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    axis = _axis(args, kwargs, 1)
    start = args[2] if len(args) > 2 else kwargs["start"]
    length = args[3] if len(args) > 3 else kwargs["length"]
    if not isinstance(start, int):
        return None
    start %= args[0].shape[axis]

    def call(numbers: list[int]) -> Tensor:
        part: Tensor = args[0].narrow(axis, numbers[0], numbers[1] - numbers[0])
        return part

    return Statement("bounds", [start, start + length], [axis], call)


def _padding(_: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    widths = list(args[1] if len(args) > 1 else kwargs["pad"])
    rest = {name: value for name, value in kwargs.items() if name != "pad"}
    axes = [args[0].ndim - 1 - k for k in range(len(widths) // 2)]
    return Statement("padding", widths, axes, lambda numbers: F.pad(args[0], numbers, *args[2:], **rest))


def _shifts(_: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Statement | None:  # noqa: ANN401
    stated = args[1] if len(args) > 1 else kwargs["shifts"]
    axes = args[2] if len(args) > 2 else kwargs.get("dims")
    if axes is None or axes == ():
        return None
    shifts, along = ([value] if isinstance(value, int) else list(value) for value in (stated, axes))
    ndim = args[0].ndim
    return Statement("shifts", shifts, [k % ndim for k in along], lambda numbers: torch.roll(args[0], numbers, along))


def _axis(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, default: int = 0) -> int:
    axis: int = args[place] if len(args) > place else kwargs.get("dim", default)
    ndim: int = args[0].ndim
    return axis % ndim


_CHUNKING = frozenset({Tensor.chunk, torch.chunk})
_READERS: dict[Any, Callable[..., Statement | None]] = {
    **dict.fromkeys((Tensor.view, Tensor.reshape, torch.reshape, Tensor.expand), _shape),
    **dict.fromkeys((Tensor.unflatten, torch.unflatten), _factors),
    **dict.fromkeys((Tensor.split, torch.split, Tensor.split_with_sizes, torch.split_with_sizes), _parts),
    **dict.fromkeys(_CHUNKING, _parts),
    **dict.fromkeys((Tensor.narrow, torch.narrow), _narrow),
    **dict.fromkeys((Tensor.roll, torch.roll), _shifts),
    Tensor.__getitem__: _items,
    F.pad: _padding,
}
