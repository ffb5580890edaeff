"""The doctor's round: every check, and which backends can run here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jetseg.doctor import machine, software
from jetseg.doctor.finding import Finding
from jetseg.doctor.host import Host
from jetseg.registry import BACKENDS

CHECKS: tuple[Callable[[Host], Finding], ...] = (
    machine.check_board,
    machine.check_system,
    machine.check_container,
    software.check_cuda_driver,
    software.check_cuda_runtime,
    software.check_tensorrt,
    software.check_pycuda,
    software.check_onnxruntime,
    software.check_litert,
    software.check_numpy,
    software.check_opencv,
    machine.check_cameras,
    machine.check_power_mode,
    machine.check_clocks,
    machine.check_memory,
    machine.check_disk,
)
NEEDS = {
    "onnxruntime": ("ONNX Runtime", "OpenCV"),
    "litert": ("LiteRT", "OpenCV"),
    "tensorrt": ("CUDA driver", "TensorRT", "pycuda", "OpenCV"),
}
"""What each backend of jetseg's own that runs engines needs, by the names of the findings. It is not asked of the
backends themselves: the doctor also comes where their libraries crash on import."""


@dataclass(frozen=True)
class Examination:
    """What was found on a machine."""

    findings: tuple[Finding, ...]

    @property
    def lacking(self) -> dict[str, tuple[str, ...]]:
        """What each backend lacks here; nothing where it can run."""
        absent = {finding.name for finding in self.findings if finding.verdict == "missing"}
        if any(finding.name == "CUDA driver" and finding.verdict != "ok" for finding in self.findings):
            absent.add("CUDA driver")
        return {backend: tuple(name for name in needs if name in absent) for backend, needs in needed().items()}


def examine(host: Host) -> Examination:
    """Looks at everything once. A check that fails is itself a finding: the doctor always comes to the end."""
    checks = {check.__name__.removeprefix("check_").replace("_", " "): check for check in CHECKS}
    for name in _foreign():
        checks[software.foreign_backend_finding(name)] = partial(software.check_foreign_backend, name=name)
    return Examination(tuple(_guarded(name, check, host) for name, check in checks.items()))


def needed() -> dict[str, tuple[str, ...]]:
    """Returns what each backend needs to run here, those of other packages included."""
    return NEEDS | {name: (software.foreign_backend_finding(name),) for name in _foreign()}


def _foreign() -> tuple[str, ...]:
    return tuple(name for name in BACKENDS.names() if name not in BACKENDS.own)


def _guarded(name: str, check: Callable[[Host], Finding], host: Host) -> Finding:
    try:
        return check(host)
    except Exception as error:  # an odd machine must not hide what the other checks found
        return Finding(name, "warning", f"could not be examined: {type(error).__name__}: {error}", "Look by hand.")
