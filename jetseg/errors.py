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
│   └── StorageError          a full or read-only disk
├── StageStoppedError         exit 4: a part of a running loop hangs; start the process again
└── QualityError              exit 1: the work was done but the result is not good enough
    ├── TrainingDivergedError the loss is no longer a number
    └── GateError             an engine lost more accuracy than allowed
"""

from __future__ import annotations

import importlib
from types import ModuleType


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
            fix or f"Install it with: pip install 'jetseg[{extra}]'.",
        )


def import_optional(module: str, library: str, extra: str, purpose: str) -> ModuleType:
    """Imports a module of an optional library; see `MissingDependencyError`, which is raised without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(library, extra, purpose) from error


class DeviceError(UnavailableError):
    """A camera, a GPU or a window system is absent or broken."""


class StorageError(UnavailableError):
    """A file could not be written: the disk is full or read-only, or the path is not ours."""


class StageStoppedError(JetsegError):
    """A stage of the running loop came to a stop, and only a new process can help.

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
