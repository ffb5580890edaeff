"""An ONNX network as a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jetseg.errors import ArtifactError
from jetseg.network import Network
from jetseg.onnx.session import choose_input_and_output, make_session, run_session
from jetseg.onnx.signature import size_axes
from jetseg.postprocess import as_nchw
from jetseg.training.normalize import Normalize
from jetseg.training.resizing import as_teacher_logits, resize_batch
from jetseg.training.teacher import TeacherOutput

Array = npt.NDArray[Any]


class OnnxTeacher:
    """An ONNX network with a fixed or free input size; a batch of 1 is handled by a loop.

    Args:
        network: The ONNX file, opened.

    Raises:
        ArtifactError: ONNX Runtime cannot load it, or it gives no logits.
        ManifestError: Its inputs or outputs are not those of the manifest.
    """

    def __init__(self, network: Network) -> None:
        path, manifest = network.path, network.manifest
        if manifest.output.kind != "logits":
            raise ArtifactError(
                f"{path} gives a class map; a student can learn only from logits.",
                "Export the teacher without the argmax.",
            )
        self.manifest = manifest
        self._path = path
        self._session = make_session(path, sha256=network.sha256, threads=torch.get_num_threads())
        self._input, self._output = choose_input_and_output(path, self._session, manifest)
        shape = next(value.shape for value in self._session.get_inputs() if value.name == self._input)
        height, width = (shape[axis] for axis in size_axes(manifest.input))
        self._one_by_one = isinstance(shape[0], int)
        self._size_is_fixed = isinstance(height, int) or isinstance(width, int)
        self._normalize = Normalize(manifest.input)

    feature_channels: int | None = None

    def __call__(self, frames_nhwc_u8: Tensor) -> TeacherOutput:
        """Runs the teacher; see `jetseg.training.teacher.Teacher`."""
        batch = self._network_input(frames_nhwc_u8.cpu())
        parts = np.split(batch, len(batch)) if self._one_by_one else [batch]
        logits = np.concatenate([self._run(part) for part in parts])
        on_device = torch.from_numpy(logits).to(frames_nhwc_u8.device)
        return TeacherOutput(as_teacher_logits(on_device, self.manifest, frames_nhwc_u8))

    def _network_input(self, frames_nhwc: Tensor) -> Array:
        spec = self.manifest.input
        if self._size_is_fixed:
            frames_nhwc = resize_batch(frames_nhwc, spec.height, spec.width)
        if spec.kind == "normalized":
            planes = self._normalize(frames_nhwc).numpy()
            return np.ascontiguousarray(np.moveaxis(planes, 1, 3) if spec.layout == "nhwc" else planes)
        ordered = frames_nhwc.flip(3) if spec.color == "rgb" else frames_nhwc
        return np.ascontiguousarray(ordered.round().to(torch.uint8).numpy())

    def _run(self, batch: Array) -> Array:
        (output,) = run_session(self._session, [self._output], {self._input: batch})
        spec = self.manifest.output
        logits = as_nchw(output, spec) if output.ndim == 4 else output
        wanted = spec.channels
        if logits.ndim != 4 or logits.shape[1] < wanted or (spec.activation != "softmax" and logits.shape[1] != 1):
            raise ArtifactError(
                f"{self._path} gave an output of shape {output.shape}; its manifest promises logits with "
                f"{'one channel' if spec.activation != 'softmax' else f'at least {wanted} channels'} ({spec.layout}).",
                "Correct `classes` or `output` in its manifest.",
            )
        return logits
