"""Runs ONNX files and CPU engines with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest
from jetseg.onnx.session import choose_input_and_output, make_session, run_session
from jetseg.preprocess import NetworkInput


class OnnxRunner:
    """A network in an ONNX Runtime session; see `jetseg.engine.backend.Runner`.

    Args:
        path: ONNX file.
        manifest: Its manifest.
        threads: Threads inside an operator.
        content: A serialized network to run in place of the file's.
        sha256: The hash that the file had when it was checked.
        optimize: False computes the graph node by node as it stands.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        threads: int | None,
        *,
        content: bytes | None = None,
        sha256: str | None = None,
        optimize: bool = True,
    ) -> None:
        self.manifest = manifest
        self.path = path
        self._session: Any = make_session(
            content or path,
            sha256=sha256,
            threads=threads,
            optimize=optimize,
            integers=manifest.precision == "int8",
        )
        self._input, self._output = choose_input_and_output(path, self._session, manifest)

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; see `jetseg.engine.backend.Runner.infer`."""
        if self._session is None:
            raise ArtifactError(f"{self.path} was closed.")
        (output,) = run_session(self._session, [self._output], {self._input: network_input})
        return output

    def close(self) -> None:
        """Frees the session."""
        self._session = None
