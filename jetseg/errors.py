"""Every error that jetseg raises on purpose.

JetsegError
├── InputError                exit 2: something that the user gave is wrong
│   ├── ConfigError           an option or a configuration file
│   ├── DataError             a dataset, an image, a label
│   ├── ManifestError         a sidecar that is missing, malformed or does not match
│   ├── ArtifactError         a checkpoint, ONNX file or engine that is broken or unsuitable
│   └── CalibrationError      a ranges file that is stale, incomplete or degenerate
├── UnavailableError          exit 3: something that the machine lacks
│   ├── MissingDependencyError  an optional library
│   ├── DeviceError           a camera, GPU or window system
│   ├── OutOfMemoryError      memory: more is needed than there is
│   │   └── MemoryBoundError  more memory than the user allows
│   └── StorageError          a full or read-only disk
├── StageStoppedError         exit 4: a stage of the loop or of other work hangs; start the process again
├── EndedBySignalError        exit 128 + the signal's number: Ctrl-C, a supervisor or a closed terminal
└── QualityError              exit 1: the work was done but the result is not good enough
    ├── TrainingDivergedError the loss is no longer a number
    └── GateError             an engine lost more accuracy than allowed
"""

from __future__ import annotations

import importlib
from types import ModuleType

from jetseg.installation import install_hint


class JetsegError(Exception):
    """Base of all errors that reach the user as one plain message.

    Args:
        found: What was found, with the file, tensor or option by name.
        fix: What to do next, as a full sentence; empty when `found` already says it.
    """

    exit_code = 2

    def __init__(self, found: str, fix: str = "") -> None:
        self.found = found
        self.fix = fix
        super().__init__(f"{found} {fix}".strip())


class InputError(JetsegError):
    """Something that the user gave is wrong."""


class ConfigError(InputError):
    """An option or a configuration file is wrong."""


class DataError(InputError):
    """A dataset, an image or a label is wrong."""


class ManifestError(InputError):
    """A manifest is missing, malformed, or does not match its artifact."""


class ArtifactError(InputError):
    """A checkpoint, an ONNX file or an engine is broken or unsuitable."""


class CalibrationError(InputError):
    """A ranges file is stale, incomplete or degenerate."""


class UnavailableError(JetsegError):
    """The machine lacks something."""

    exit_code = 3


class MissingDependencyError(UnavailableError):
    """An optional library is not installed.

    Args:
        library: Import name of the library.
        extra: The jetseg extra that installs it.
        purpose: What it is needed for, as in "runs ONNX networks".
        fix: What to do where installing the extra is not all of it.
    """

    def __init__(self, library: str, extra: str, purpose: str, fix: str = "") -> None:
        self.library = library
        self.extra = extra
        super().__init__(
            f"{library} {purpose}, and it is not installed.",
            fix or install_hint(extra),
        )


def import_optional(module: str, library: str, extra: str, purpose: str) -> ModuleType:
    """Imports a module of an optional library; see `MissingDependencyError`, which is raised without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(library, extra, purpose) from error


class DeviceError(UnavailableError):
    """A camera, a GPU or a window system is absent or broken."""


class OutOfMemoryError(UnavailableError):
    """More memory is needed than the machine has, or than the process may take.

    Args:
        what: What needs it.
        asked_bytes: How much was asked for at once, where that is known.
    """

    def __init__(self, what: str, asked_bytes: int | None = None) -> None:
        asked = f": {asked_bytes / 1e9:,.1f} GB were asked for at once" if asked_bytes else ""
        super().__init__(
            f"The memory does not suffice for {what}{asked}.",
            "Close other programs, or use a smaller network, input size or batch; if this process has a memory limit, "
            "raise it.",
        )


class StorageError(UnavailableError):
    """A file could not be written: the disk is full or read-only, or the path is not ours."""


class MemoryBoundError(OutOfMemoryError):
    """The process holds more memory than the user allows.

    Args:
        held_gb: What it holds, in 10^9 bytes.
        bound_gb: What it may hold.
    """

    def __init__(self, held_gb: float, bound_gb: float) -> None:
        JetsegError.__init__(
            self,
            f"The process holds {held_gb:.2f} GB of memory, and {bound_gb:g} GB are allowed.",
            "Allow more, or use a smaller network or input.",
        )


class EndedBySignalError(JetsegError):
    """The process was asked to end.

    Args:
        name: Of the signal, as in "SIGTERM".
        exit_code: By convention 128 and the signal's number.
    """

    def __init__(self, name: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"{name} ended the process before it was done.")


class StageStoppedError(JetsegError):
    """A stage of a loop, or of other work with a network, came to a stop; only a new process can help.

    Args:
        stage: Which one, as in "infer".
        reason: What it does not come back from.
    """

    exit_code = 4

    def __init__(self, stage: str, reason: str) -> None:
        self.stage = stage
        super().__init__(f"The {stage} stage stopped: {reason}.", "Start it again; a supervisor does so by itself.")


class QualityError(JetsegError):
    """The work was done, but its result is not good enough."""

    exit_code = 1


class TrainingDivergedError(QualityError):
    """The training loss is no longer a number."""


class GateError(QualityError):
    """A built engine lost more accuracy than allowed."""
