"""A drive through a drawn world: endless and live, or some frames of it."""

from __future__ import annotations

from jetseg.camera.contract import Source, SourceContext
from jetseg.camera.sources.dataset import DatasetSource
from jetseg.camera.sources.paced import PacedSource
from jetseg.data.dataset import open_split

_FRAMES_PER_SECOND = 30.0


class SyntheticSource:
    """The drawn drive; see `jetseg.camera.contract.SourceKind`."""

    form = "synthetic"

    @staticmethod
    def open(place: str, context: SourceContext) -> Source:
        """Opens N frames, as a file; without N an endless drive, at 30 frames per second unless a pace is asked for."""
        spec = f"synthetic:{place}" if place else "synthetic"
        drive = DatasetSource(open_split(spec, context.split), labels=context.labels is not False, endless=not place)
        return drive if place else PacedSource(drive, context.pace or _FRAMES_PER_SECOND)
