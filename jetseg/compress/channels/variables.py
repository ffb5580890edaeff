"""Channels as variables: which of them stand or fall together, and which must stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
"""One variable per index of an axis; True for such a variable means: this slice is removed."""
Label = Ids | None
"""What is known about one axis of a tensor: a variable per index, or None if its size is fixed."""


@dataclass(frozen=True)
class Product:
    """An axis that is seen as several, as in reshape(64) to (8, 8): a slice goes if one of its coordinates goes.

    Attributes:
        flat: Variables of the one axis, laid out as the several: one axis of this array for each of them.
        axes: Variables of each of the several axes.
    """

    flat: Ids
    axes: tuple[Ids, ...]


class Channels:
    """All channels of a network: a union-find over variables, with a reason for each that must stay."""

    def __init__(self) -> None:
        self._parent = np.zeros(1024, dtype=np.int64)
        self._count = 0
        self._reasons: dict[int, str] = {}
        self._products: list[Product] = []
        self._heads: list[Ids] = []

    def new(self, count: int) -> Ids:
        """Returns variables for the indices of an axis."""
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        if self._count > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros(self._count, dtype=np.int64)])
        self._parent[ids] = ids
        return ids

    def roots(self, ids: Ids) -> Ids:
        """Returns one representative of each variable's class."""
        found = self._parent[ids]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                self._parent[ids] = found
                return found
            found = above

    def couple(self, first: Label, second: Label, reason: str) -> Label:
        """Makes two axes one, index by index; an axis that meets one of fixed size must stay, for that reason."""
        if first is None or second is None:
            self.keep(first, reason)
            self.keep(second, reason)
            return None
        one, other = self.roots(first).ravel(), self.roots(second).ravel()
        for a, b in zip(one[one != other].tolist(), other[one != other].tolist(), strict=True):
            self._union(a, b)
        return first

    def keep(self, label: Label, reason: str) -> None:
        """Says that the slices of an axis must stay, and why; the first reason counts."""
        if label is not None:
            for root in np.unique(self.roots(label)).tolist():
                self._reasons.setdefault(root, reason)

    def kept(self, ids: Ids) -> NDArray[np.bool_]:
        """Tells which variables must stay."""
        roots = self.roots(ids)
        return np.isin(roots, np.fromiter(self._reasons, dtype=np.int64, count=len(self._reasons)))

    def reason(self, ids: Ids) -> str:
        """Returns why the first of these that must stay has to; empty if none has to."""
        return next((self._reasons[root] for root in self.roots(ids).ravel().tolist() if root in self._reasons), "")

    def is_one(self, flat: Ids, axes: Sequence[Ids]) -> None:
        """Notes that one axis is seen as several."""
        self._products.append(Product(flat, tuple(axes)))

    def are_heads(self, label: Label) -> None:
        """Notes that an axis counts independent products, as attention heads are."""
        if label is not None:
            self._heads.append(label)

    def settle(self) -> None:
        """Decides of each axis that is seen as several, along which of them it can be thinned.

        Along one only, as whatever is left must be a full grid: heads before others, then the longest.
        """
        open_products = self._products
        while open_products:
            undecided = [product for product in open_products if not self._settle(product)]
            if len(undecided) == len(open_products):
                first = undecided.pop(0)
                self._thin_along(first, max(self._free(first), key=lambda k: self._preference(first.axes[k])))
            open_products = undecided
        self._products = []

    def _settle(self, product: Product) -> bool:
        """Decides where there is no choice; tells whether that was so."""
        free = self._free(product)
        if not free or self.kept(product.flat).all():
            reason = self.reason(np.concatenate([product.flat.ravel(), *product.axes])) or "kept: seen as several axes"
            for ids in (product.flat, *product.axes):
                self.keep(ids, reason)
            return True
        if len(free) == 1:
            self._thin_along(product, free[0])
        return len(free) == 1

    def _free(self, product: Product) -> list[int]:
        return [k for k, axis in enumerate(product.axes) if not self.kept(axis).all()]

    def _preference(self, axis: Ids) -> tuple[bool, int]:
        heads: Iterable[int] = {root for ids in self._heads for root in self.roots(ids).tolist()}
        return bool(set(self.roots(axis).tolist()) & set(heads)), len(axis)

    def _thin_along(self, product: Product, chosen: int) -> None:
        for k, axis in enumerate(product.axes):
            if k != chosen:
                self.keep(axis, "kept: another axis of the same channels is thinned")
        shape = [1] * product.flat.ndim
        shape[chosen] = -1
        axis = np.broadcast_to(product.axes[chosen].reshape(shape), product.flat.shape)
        self.couple(product.flat.ravel(), axis.ravel(), "")

    def _union(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        if a == b:
            return
        self._parent[b] = a
        if b in self._reasons:
            reason = self._reasons.pop(b)
            self._reasons.setdefault(a, reason)

    def _root(self, a: int) -> int:
        while self._parent[a] != a:
            self._parent[a] = self._parent[self._parent[a]]
            a = int(self._parent[a])
        return a
