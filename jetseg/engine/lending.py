"""Two buffers per output: a device writes to one while the host reads the other."""

from __future__ import annotations

import weakref
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt


class HostBuffer(Protocol):
    """Memory that a device writes to and the host reads."""

    host: npt.NDArray[Any]


B = TypeVar("B", bound=HostBuffer)


class Lending(Generic[B]):
    """The memory of one output. What is lent is not written to before its readers have let go of it.

    Args:
        one: A buffer; the caller frees both, after which nobody may read what was lent.
        other: Another of the same shape.
    """

    def __init__(self, one: B, other: B) -> None:
        self._buffers = one, other
        self._chosen = 0
        self._loans: list[weakref.ref[_Loan] | None] = [None, None]

    @property
    def target(self) -> B:
        """The buffer that is written to."""
        return self._buffers[self._chosen]

    def choose(self) -> B:
        """Makes a buffer that nobody reads the target, and returns it."""
        self._chosen = self._free()[0]
        return self.target

    def lend(self) -> npt.NDArray[Any]:
        """Returns what was written to the target: its memory, or a copy if that would leave no buffer to write to."""
        if len(self._free()) == 1:
            return np.array(self.target.host)
        loan = _Loan(self.target.host)
        self._loans[self._chosen] = weakref.ref(loan)
        return np.asarray(loan)

    def _free(self) -> list[int]:
        # readers in other threads only ever let go, so what is free stays free until it is lent
        return [number for number, loan in enumerate(self._loans) if loan is None or loan() is None]


class _Loan:
    """What all arrays over lent memory keep alive, views of views too, since numpy takes it for their base."""

    def __init__(self, host: npt.NDArray[Any]) -> None:
        self.__array_interface__ = host.__array_interface__
