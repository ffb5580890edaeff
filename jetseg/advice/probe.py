"""What a probe is: a technique, tried at little cost."""

from __future__ import annotations

from typing import ClassVar, Protocol

from jetseg.advice.finding import Finding
from jetseg.advice.workbench import Workbench


class Probe(Protocol):
    """Tries one technique; one class per file in `jetseg.advice.probes`."""

    name: ClassVar[str]
    """The technique."""
    share: ClassVar[float]
    """Its part of the time, of the sum of all probes' shares."""

    def applies(self, bench: Workbench) -> str:
        """Returns why the technique cannot be tried on this network or device; empty if it can."""
        ...

    def run(self, bench: Workbench) -> Finding:
        """Tries it, and stops where it is when `bench.clock` says so.

        Raises:
            JetsegError: It could not be tried; the message says why.
        """
        ...


NEEDS_TORCH = "its layers cannot be changed: this is an ONNX file, and only a checkpoint has torch modules"
"""Why most techniques are impossible for an ONNX file."""
