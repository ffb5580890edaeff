"""`jetseg ring-header`: the reader of the ring for C and C++."""

from __future__ import annotations

import sys


def ring_header() -> None:
    """Prints the C header that reads the class maps of `jetseg run --ring NAME` in another program.

    It is one file for C and C++, needs no library, and says how the shared memory is laid out.

    Examples:

        jetseg ring-header > jetseg_ring.h
    """
    from jetseg.camera.sinks.ring import c_header

    sys.stdout.write(c_header())
