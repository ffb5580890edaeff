"""A folder of numbered segments of a recording, of which the oldest go when it is full."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from pathlib import Path

from jetseg.storage import make_folder

_GIGABYTE = 1_000_000_000
_LEAST_FREE_BYTES = 64 << 20
"""Left to the rest of the vehicle."""


def bytes_of(limit_gb: float | None) -> int | None:
    """Returns a limit in bytes; None for none."""
    return None if limit_gb is None else int(limit_gb * _GIGABYTE)


class SegmentFolder:
    """Names the next segment, and makes room for it.

    Segments are numbered, over all runs, because a clock may jump; their names hold the time as well.

    Args:
        folder: Where they lie.
        suffix: Of their files, as in ".mp4"; others are left alone.
        limit_bytes: The oldest segments are deleted beyond this; None keeps all.
    """

    def __init__(self, folder: Path, suffix: str, limit_bytes: int | None = None) -> None:
        self._folder = folder
        self._suffix = suffix
        self._limit_bytes = limit_bytes
        self._name = re.compile(rf"segment-(?:(\d{{8,}})-)?\d{{8}}T\d{{6}}\.\d{{3}}Z{re.escape(suffix)}")

    def paths(self) -> list[Path]:
        """Returns the segments, the oldest first; those of versions that did not count are the oldest."""
        found = [path for path in self._folder.iterdir() if self._name.fullmatch(path.name)]
        return sorted(found, key=lambda path: (self._number(path), path.name))

    def next_path(self) -> Path:
        """Makes room for a segment and names it.

        Raises:
            OSError: The folder cannot be written to, or the disk is nearly full.
        """
        make_folder(self._folder)
        earlier = self.paths()
        self._delete_oldest(earlier)
        if shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        number = 1 + max(map(self._number, earlier), default=0)
        started = time.time()
        clock = time.strftime("%Y%m%dT%H%M%S", time.gmtime(started)) + f".{int(started * 1000) % 1000:03d}Z"
        return self._folder / f"segment-{number:08}-{clock}{self._suffix}"

    def _number(self, path: Path) -> int:
        found = self._name.fullmatch(path.name)
        return int(found[1]) if found and found[1] else 0

    def _delete_oldest(self, segments: list[Path]) -> None:
        if self._limit_bytes is None:
            return
        sizes = [path.stat().st_size for path in segments]
        total = sum(sizes)
        for path, size in zip(segments, sizes, strict=True):
            if total <= self._limit_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
