"""Looks at a network's scores on their way to the class map, which no longer shows how sure the network was."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.engine.backend import Runner, infer_all
from jetseg.evaluation.profile import scores_of
from jetseg.preprocess import NetworkInput


class ScoreTap:
    """A runner that hands everything on and keeps the scores of a grid of pixels; see `Runner`.

    Args:
        runner: The network.
    """

    def __init__(self, runner: Runner) -> None:
        self.manifest = runner.manifest
        self._latest: npt.NDArray[np.float32] | None = None
        self._runner = runner

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network; see `Runner.infer`."""
        output = self._runner.infer(network_input)
        self._latest = scores_of(np.asarray(output), self.manifest)
        return output

    def infer_all(self, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        """Runs the network, and keeps the scores of the main output; see `jetseg.engine.backend.infer_all`."""
        outputs = infer_all(self._runner, network_input)
        self._latest = scores_of(np.asarray(outputs[0]), self.manifest)
        return outputs

    def take(self) -> npt.NDArray[np.float32] | None:
        """Returns the scores of the newest output, channels x pixels, once.

        None if there is none that was not taken, as while another engine serves, and without logits. They may be one
        frame ahead of what is being finished, which the median of a window does not notice.
        """
        latest, self._latest = self._latest, None
        return latest

    def close(self) -> None:
        """Closes the network."""
        self._runner.close()
