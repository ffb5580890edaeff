"""What the rules of operators read and write: labels of tensors, arguments of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from jetseg.compress.channels.variables import Channels, Label

Labels = list[Label]


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
