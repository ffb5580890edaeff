"""Runs ONNX files and CPU engines with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest
from jetseg.onnx.session import choose_input_and_outputs, make_session, run_session
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
        self._input, self._outputs = choose_input_and_outputs(path, self._session, manifest)

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; see `jetseg.engine.backend.Runner.infer`."""
        return self._run(self._outputs[:1], network_input)[0]

    def infer_all(self, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        """Runs the network; see `jetseg.engine.backend.SeveralOutputs`."""
        return self._run(self._outputs, network_input)

    def _run(self, outputs: list[str], network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        if self._session is None:
            raise ArtifactError(f"{self.path} was closed.")
        return run_session(self._session, outputs, {self._input: network_input})

    def close(self) -> None:
        """Frees the session."""
        self._session = None
