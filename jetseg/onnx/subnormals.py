"""Subnormal numbers count as zero while ONNX Runtime computes, as on a GPU.

An Intel processor computes with them many times slower than with others. Weight decay leaves them in the weights of
dead channels, and softmax makes them of what a mask lowers by 100, as in shifted windows. ONNX Runtime has a setting
for its own threads; of those that call it, it reaches only the one that opens the first session of a process, for good.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_BITS = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}
"""By processor: the word of glibc's fenv_t with the control bits, and those that flush inputs and results."""
_Environment = ctypes.c_uint32 * 16
"""Larger than any fenv_t."""


@contextmanager
def zero_subnormals() -> Iterator[None]:
    """Lets this thread take subnormal numbers for zero inside the block; elsewhere than on Linux nothing changes."""
    found = _control()
    if found is None:
        yield
        return
    library, word, bits = found
    before = _Environment()
    library.fegetenv(before)
    inside = _Environment.from_buffer_copy(before)
    inside[word] |= bits
    library.fesetenv(inside)
    try:
        yield
    finally:
        library.fesetenv(before)


@cache
def _control() -> tuple[ctypes.PyDLL, int, int] | None:
    """Returns the library, and the word and bits; None where they are not known."""
    bits = _BITS.get(platform.machine())
    if sys.platform != "linux" or bits is None or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.PyDLL("libm.so.6"), *bits
