"""The one place that touches ai-edge-litert: its interpreter and the schema of its files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from jetseg.errors import ArtifactError, import_optional

_PURPOSE = "runs LiteRT files"


def load_schema() -> ModuleType:
    """Returns the classes of a LiteRT file.

    Raises:
        MissingDependencyError: ai-edge-litert is not installed.
    """
    return import_optional("ai_edge_litert.schema_py_generated", "ai_edge_litert", "litert", _PURPOSE)


def open_interpreter(content: bytes, name: str, threads: int | None = None, *, plain: bool = False) -> Any:  # noqa: ANN401
    """Opens a file with its tensors allocated.

    Args:
        content: The file.
        name: What messages call it.
        threads: Threads of XNNPACK; None for one per core.
        plain: Whether all operators run as they stand, without XNNPACK, and all tensors can be read afterwards.

    Returns:
        An `ai_edge_litert.interpreter.Interpreter`.

    Raises:
        MissingDependencyError: ai-edge-litert is not installed.
        ArtifactError: The file is damaged, or has an operator that LiteRT lacks.
    """
    library = import_optional("ai_edge_litert.interpreter", "ai_edge_litert", "litert", _PURPOSE)
    kinds = library.OpResolverType
    try:
        with _silent():
            interpreter = library.Interpreter(
                model_content=content,
                num_threads=threads or os.cpu_count(),
                experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else kinds.AUTO,
                experimental_preserve_all_tensors=plain,
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{name} cannot be opened by LiteRT: {str(error).splitlines()[0].rstrip('.')}.",
            "Check that the file is whole, or build it anew.",
        ) from error
    return interpreter


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps from the process's stderr what LiteRT writes there of every file, as errors too; it raises real ones."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # a process without a stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
