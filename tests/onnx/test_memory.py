import platform
import subprocess
import sys

import pytest

HOLES = """
import numpy as np
from jetseg.onnx.memory import return_freed_memory

def held_mb():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

np.ones(1 << 24, np.uint8)  # from such an array on, glibc keeps smaller ones on the heap
before = held_mb()
arrays = [np.ones(1 << 22, np.uint8) for _ in range(32)]
del arrays[::2]
if {called}:
    return_freed_memory()
print(held_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="The setting is glibc's, read from Linux' /proc.")
def test_freed_arrays_between_others_go_back_to_the_system():
    def grown(called: bool) -> float:
        code = HOLES.format(called=called)
        return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    assert grown(True) == pytest.approx(64, abs=8)
    assert grown(False) == pytest.approx(128, abs=8)
