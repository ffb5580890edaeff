"""A source of another package whose address hides something: no error of its own tells it."""

from __future__ import annotations

from jetseg.address import SourceAddress
from jetseg.camera.contract import Source, SourceFrame

_TOLD = ("split", "live", "frames_per_second", "size_hw", "classes", "ignore_index", "losses")
"""What a source tells of itself beside its name; see `jetseg.camera.contract.Source`."""


class ConcealedSource(Source):
    """Another source, whose errors do not hold its address.

    Args:
        source: Gives the frames.
        address: What it was opened by.
    """

    def __init__(self, source: Source, address: SourceAddress) -> None:
        self.name = source.name
        self._source, self._address = source, address
        self._tell()

    def read(self) -> SourceFrame | None:
        """Reads the other source.

        Raises:
            DeviceError: It failed; its own text is not repeated.
            TimeoutError: It has no frame yet.
        """
        with self._address.concealing():
            try:
                frame, late = self._source.read(), False
            except TimeoutError:
                frame, late = None, True
        self._tell()
        if late:
            raise TimeoutError
        return frame

    def close(self) -> None:
        """Closes the other source."""
        with self._address.concealing():
            self._source.close()

    def _tell(self) -> None:
        for name in _TOLD:
            setattr(self, name, getattr(self._source, name))
