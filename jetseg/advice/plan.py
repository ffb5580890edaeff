"""What is done to a network: one technique, or a chain of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from jetseg.manifest import EnginePrecision


@dataclass(frozen=True)
class Plan:
    """A chain of techniques; without any, the network as it is, in float.

    Attributes:
        instead: Another network in its place: a name of `jetseg.registry.NETWORKS`, or of a shipped network.
        prune_ratio: Fraction of every layer's channels to remove.
        energy: Fraction of the squared singular values that low rank keeps.
        two_four: Whether two of every four weights become zero.
        distilled: Whether it learns from the teacher.
        size: Height and width of the input.
        stride: The last upsampling that is left out, as in 8 for logits at an eighth of the input.
        precision: Precision of the engine.
        qat: Whether it is trained under quantization.
    """

    instead: str | None = None
    prune_ratio: float | None = None
    energy: float | None = None
    two_four: bool = False
    distilled: bool = False
    size: tuple[int, int] | None = None
    stride: int | None = None
    precision: EnginePrecision = "fp32"
    qat: bool = False

    @property
    def techniques(self) -> tuple[str, ...]:
        """The techniques in it, in the order of the work."""
        return tuple(_NAMES[name] if name != "precision" else self.precision for name in self._changes())

    @property
    def trains(self) -> bool:
        """Whether weights are trained."""
        return bool({*self._changes()} - {"size", "stride", "precision"})

    def joined(self, other: Plan) -> Plan | None:
        """Returns both plans as one; None where they exclude each other.

        >>> Plan(prune_ratio=0.5).joined(Plan(precision="int8")).techniques
        ('pruning', 'int8')
        >>> Plan(prune_ratio=0.5).joined(Plan(prune_ratio=0.25)) is None
        True
        """
        own, others = self._changes(), other._changes()
        joined = {**own, **others}
        both_weights = {"instead", *_OF_ITS_WEIGHTS}
        if own.keys() & others.keys() or ("instead" in joined and len(joined.keys() & both_weights) > 1):
            return None
        return replace(self, **others)

    def __str__(self) -> str:
        return " + ".join(_WORDS[name](value) for name, value in self._changes().items()) or "as it is, fp32"

    def _changes(self) -> dict[str, Any]:
        plain = Plan()
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(plain, field.name)
        }


_OF_ITS_WEIGHTS = ("prune_ratio", "energy", "two_four", "distilled", "size", "stride", "qat")
"""What is done to the network at hand, and not to another one."""
_NAMES = {
    "instead": "lighter network",
    "prune_ratio": "pruning",
    "energy": "low rank",
    "two_four": "2:4",
    "distilled": "distillation",
    "size": "input size",
    "stride": "output stride",
    "qat": "quantization-aware training",
}
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "instead": lambda name: f"{name} in its place",
    "prune_ratio": lambda ratio: f"{100 * ratio:.0f} % of the channels pruned",
    "energy": lambda energy: f"low rank at {100 * energy:.0f} % of the energy",
    "two_four": lambda _: "2:4",
    "distilled": lambda _: "distillation",
    "size": lambda size: f"input {size[1]}x{size[0]}",
    "stride": lambda stride: f"output stride {stride}",
    "precision": str,
    "qat": lambda _: "quantization-aware training",
}
