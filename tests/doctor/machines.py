"""Machines made up of a few files and answers, for the doctor's checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jetseg.doctor.host import CommandResult, Host

ORIN_FILES = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "proc/meminfo": "MemTotal:        7800000 kB\nMemFree: 1 kB\nMemAvailable:    5000000 kB\n",
    "sys/class/video4linux/video0/name": "imx219\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "1510400\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1510400\n",
}
ORIN_ANSWERS: dict[str, object] = {
    "nvidia-jetpack": "6.2+b77",
    "nvpmodel": "NV Power Mode: MAXN_SUPER\n2\n",
    "libcuda.so.1": {"status": 0, "version": 12060, "count": 1, "name": "Orin", "capability": "8.7"},
    "libcudart": {"version": 12060},
    "import json, tensorrt": {"version": "10.3.0"},
    "import json, pycuda": {"version": "2025.1"},
    "import json, onnxruntime": {"version": "1.20.0"},
    "ai_edge_litert": {"version": "2.3.0"},
    "import json, numpy": {"version": "1.26.4", "error": 1e-7},
    "import json, cv2": {"version": "4.8.0", "build": "  Video I/O:\n    GStreamer:                   YES (1.20.3)\n"},
}


def machine(root: Path, files: dict[str, str], answers: dict[str, object], free_bytes: float = 50e9) -> Host:
    """Makes a machine; an answer is what a command prints (text, or JSON), or a `CommandResult`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Host(root=root, folder=root, command=_replies(answers), free_bytes=lambda folder: int(free_bytes))


def orin(root: Path, files: dict[str, str] | None = None, answers: dict[str, object] | None = None) -> Host:
    """Makes an Orin where all is well, apart from what is given."""
    return machine(root, {**ORIN_FILES, **(files or {})}, {**ORIN_ANSWERS, **(answers or {})})


def _replies(answers: dict[str, object]) -> Callable[[Sequence[str]], CommandResult]:
    def reply(arguments: Sequence[str]) -> CommandResult:
        line = " ".join(arguments)
        for key, answer in answers.items():
            if key in line:
                if isinstance(answer, CommandResult):
                    return answer
                return CommandResult(0, answer if isinstance(answer, str) else json.dumps(answer))
        if "import json, " in line:
            module = line.split("import json, ")[1].split(";")[0].split(",")[0]
            return CommandResult(1, stderr=f"ModuleNotFoundError: No module named '{module}'")
        if "ctypes" in line:
            return CommandResult(1, stderr="OSError: libcuda.so.1: cannot open shared object file")
        return CommandResult(None, stderr="No such file or directory")

    return reply
