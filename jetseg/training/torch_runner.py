"""A torch network behind the same contract as an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest
from jetseg.network import Network
from jetseg.training.checkpoint import load_checkpoint


class TorchRunner:
    """Runs a checkpoint, or a module that is being trained, as `jetseg.engine.backend.Runner` asks.

    Args:
        network: A checkpoint, opened or by its path; or a module, which is put in eval mode, with its manifest.
        manifest: Describes the module; left out for a checkpoint.
        device: Where to run, as in "cuda".
    """

    def __init__(
        self, network: Network | Path | nn.Module, manifest: Manifest | None = None, device: torch.device | str = "cpu"
    ) -> None:
        if not isinstance(network, nn.Module):
            module, self.manifest = load_checkpoint(network)
        elif manifest is not None:
            module, self.manifest = network, manifest
        else:
            raise TypeError("a module needs its manifest")
        self._device = torch.device(device)
        self._module: nn.Module | None = module.to(self._device).eval()

    def infer(self, network_input: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Runs the network.

        Args:
            network_input: float32, N x channels x H x W, as `jetseg.preprocess.Preprocessor` makes it.

        Returns:
            Logits of the main output, float32, N x C x H x W.
        """
        return self.infer_all(network_input)[0]

    def _run(self, network_input: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._module is None:
            raise ArtifactError("The network was closed.")
        with torch.inference_mode():
            logits: Tensor = self._module(torch.from_numpy(network_input).to(self._device))
            return logits.float().cpu().numpy()

    def infer_all(self, network_input: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Runs the network; see `jetseg.engine.backend.SeveralOutputs`."""
        joined = self._run(network_input)
        ends = np.cumsum([output.channels for output in self.manifest.outputs])[:-1]
        return [joined] if not len(ends) else np.split(joined, ends, axis=1)

    def close(self) -> None:
        """Frees the network; may be called twice."""
        self._module = None
