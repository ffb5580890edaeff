"""Runs LiteRT files by XNNPACK, with images as the manifest has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.engine.litert.layout import as_network_gives, channels_last, file_shape
from jetseg.engine.litert.library import open_interpreter
from jetseg.errors import ArtifactError, ManifestError
from jetseg.network import Network
from jetseg.preprocess import NetworkInput


class LiteRTRunner:
    """A LiteRT file in an interpreter; see `jetseg.engine.backend.Runner`.

    Inside, images have their channels last; outside they are as the manifest says. Where integers go in or come out,
    they are made of the manifest's floats and turned back here.

    Args:
        network: The file, checked against its manifest.
        threads: Threads of XNNPACK.

    Raises:
        ArtifactError: The file is damaged, or has other outputs than its manifest, or several inputs.
        ManifestError: Its input is not what the manifest says.
    """

    def __init__(self, network: Network, threads: int | None) -> None:
        self.manifest = network.manifest
        self.path = network.path
        self._interpreter: Any = open_interpreter(network.read(), str(network.path), threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        wanted = len(self.manifest.outputs)
        if len(inputs) != 1 or len(outputs) != wanted:
            raise ArtifactError(
                f"{network.path} has {len(inputs)} inputs and {len(outputs)} outputs; there must be one input, and "
                f"{wanted} by its manifest.",
                "List the outputs in the manifest in the order of the file, or build it again.",
            )
        self._input, self._outputs = inputs[0], outputs
        self._check_input()

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; see `jetseg.engine.backend.Runner.infer`."""
        return self.infer_all(network_input)[0]

    def infer_all(self, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        """Runs the network; see `jetseg.engine.backend.SeveralOutputs`."""
        if self._interpreter is None:
            raise ArtifactError(f"{self.path} was closed.")
        given = channels_last(network_input, self.manifest)
        self._interpreter.set_tensor(self._input["index"], as_file_takes(given, self._input))
        self._interpreter.invoke()
        return [
            as_network_gives(_dequantized(self._interpreter.get_tensor(end["index"]), end), output)
            for end, output in zip(self._outputs, self.manifest.outputs, strict=True)
        ]

    def close(self) -> None:
        """Frees the interpreter."""
        self._interpreter = None

    def _check_input(self) -> None:
        spec, end = self.manifest.input, self._input
        quantized = end["quantization"][0] and spec.kind == "normalized"
        found = "float32" if quantized else np.dtype(end["dtype"]).name, tuple(map(int, end["shape"]))
        wanted = "uint8" if spec.kind == "frame" else "float32", file_shape(spec)
        if found != wanted:
            raise ManifestError(
                f"{self.path}: its input is {found[0]} of shape {list(found[1])}, but by the manifest it is "
                f"{wanted[0]} of shape {list(wanted[1])} (input.kind {spec.kind}).",
                "Correct the manifest's input; if the file has its channels second, convert it with them last.",
            )


def as_file_takes(values: npt.NDArray[Any], end: dict[str, Any]) -> npt.NDArray[Any]:
    """Returns an input as integers, where a file takes these.

    Args:
        values: The input.
        end: What the interpreter tells of it.
    """
    scale, zero_point = end["quantization"]
    if not scale or values.dtype == end["dtype"]:
        return values
    bounds = np.iinfo(end["dtype"])
    integers = np.clip(np.rint(values / np.float32(scale)) + zero_point, bounds.min, bounds.max)
    return np.asarray(integers.astype(end["dtype"]))


def _dequantized(values: npt.NDArray[Any], end: dict[str, Any]) -> npt.NDArray[Any]:
    scale, zero_point = end["quantization"]
    if not scale or values.dtype == np.float32:
        return values
    return np.asarray((values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale))
