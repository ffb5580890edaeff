"""The network in training under quantization: how it is fed, and which crops it can take."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from jetseg.compress.qat.graph import logits_name
from jetseg.compress.qat.module import OnnxModule
from jetseg.compress.qat.quantizers import Ranges
from jetseg.config import changed
from jetseg.errors import ArtifactError, ConfigError
from jetseg.evaluation.tasks import has_one_class_map
from jetseg.manifest import Manifest
from jetseg.models.layers import resize_like
from jetseg.onnx.graph import Graph
from jetseg.onnx.signature import size_axes
from jetseg.training.normalize import Normalize


class JoinedTasks(OnnxModule):
    """A graph of several tasks, which gives the scores of all of them joined along the channels, of the input's size.

    Args:
        model: As for `OnnxModule`.
        manifest: Says the outputs, and how their scores lie.
        names: The tensor of each.
        ranges: As for `OnnxModule`.
    """

    def __init__(self, model: onnx.ModelProto, manifest: Manifest, names: Sequence[str], ranges: Ranges) -> None:
        super().__init__(model, names, ranges)
        self._outputs, self._axes = manifest.outputs, size_axes(manifest.input)

    def forward(self, x: Tensor) -> Tensor:
        """Returns scores, N x sum of channels x H x W."""
        found = super().forward(x)
        size = x.new_empty([x.shape[axis] for axis in self._axes])
        parts = []
        for scores, output in zip(found if isinstance(found, tuple) else (found,), self._outputs, strict=True):
            planes = scores.permute(0, 3, 1, 2) if output.layout == "nhwc" else scores
            parts.append(resize_like(planes[:, : output.channels], size))
        return torch.cat(parts, dim=1)


def open_module(model: onnx.ModelProto, manifest: Manifest, ranges: Ranges = "learned") -> tuple[OnnxModule, Manifest]:
    """Makes a module of a graph that gives logits, those before the choice of the class if it gives class maps.

    Returns:
        The module, and the manifest as it holds for the module; of several tasks, or of depth, a `JoinedTasks`.

    Raises:
        ArtifactError: An operator or a quantizer cannot be trained.
    """
    graph = Graph(model)
    if has_one_class_map(manifest):
        output = manifest.output.name or (graph.outputs[0] if len(graph.outputs) == 1 else None)
        module = OnnxModule(model, () if output is None else (logits_name(graph, output),), ranges)
        return module, manifest.with_output(name=module.output_names[0], kind="logits")
    names = [logits_name(graph, output.name or graph.outputs[0]) for output in manifest.outputs]
    told = manifest.changed(outputs=tuple(changed(output, kind="logits") for output in manifest.outputs))
    return JoinedTasks(model, manifest, names, ranges), told


def open_trainable(model: onnx.ModelProto, manifest: Manifest, ranges: Ranges) -> tuple[OnnxModule, Manifest]:
    """Makes a module of a graph with quantizers; see `open_module`.

    Raises:
        ArtifactError: An operator or a quantizer cannot be trained, or nothing is quantized.
    """
    module, told = open_module(model, manifest, ranges)
    if not module.quantizer_of:
        raise ArtifactError(
            "The network has no quantizers to train under.", "Give a Q/DQ file, not the float network it came from."
        )
    return module, told


class CropNetwork:
    """Runs a network on batches of crops.

    Args:
        module: The network; may have been wrapped for training.
        manifest: What goes in and comes out.
        crop: Height and width of the crops.

    Attributes:
        channels: Channels of the logits.

    Raises:
        ConfigError: The graph is fixed to another size.
    """

    def __init__(self, module: nn.Module, manifest: Manifest, crop: tuple[int, int], device: torch.device) -> None:
        spec = self._spec = manifest.input
        self._module = module
        self._layout = "nchw" if isinstance(module, JoinedTasks) else manifest.output.layout
        self._normalize = Normalize(spec).to(device)
        self._one_by_one = False
        own = (spec.height, spec.width)
        try:
            logits = self._try(2, crop, device)
            self._one_by_one = len(logits) != 2
        except ArtifactError:
            # a reshape that is fixed to a batch of 1, or a size that the graph cannot take at all
            self._one_by_one = True
        try:
            logits = self._try(1, crop, device)
            expected = self._try(1, own, device) if crop != own else logits
        except ArtifactError as error:
            raise _fixed_size(own, crop, error.found) from error
        if any(
            size * whole != full * part
            for size, full, part, whole in zip(logits.shape[2:], expected.shape[2:], crop, own, strict=True)
        ):
            raise _fixed_size(own, crop, f"it gives {tuple(logits.shape[2:])} logits for crops")
        self.channels = int(logits.shape[1])

    def __call__(self, frames_nhwc_u8: Tensor) -> Tensor:
        """Returns logits, float32, N x channels x h x w.

        Args:
            frames_nhwc_u8: Crops, N x H x W x 3, BGR, 0..255.
        """
        spec = self._spec
        if spec.kind == "frame":
            batch = frames_nhwc_u8.flip(3) if spec.color == "rgb" else frames_nhwc_u8
        else:
            batch = self._normalize(frames_nhwc_u8)
            batch = batch.permute(0, 2, 3, 1) if spec.layout == "nhwc" else batch
        parts = torch.split(batch, 1) if self._one_by_one else (batch,)
        logits = torch.cat([self._module(part) for part in parts])
        return logits.permute(0, 3, 1, 2) if self._layout == "nhwc" else logits

    def _try(self, count: int, size: tuple[int, int], device: torch.device) -> Tensor:
        with torch.no_grad():
            return self(torch.zeros((count, *size, 3), dtype=torch.uint8, device=device))


def _fixed_size(own: tuple[int, int], crop: tuple[int, int], reason: str) -> ConfigError:
    return ConfigError(
        f"Crops of {crop[0]}x{crop[1]} do not fit this network, which was exported for {own[0]}x{own[1]}: {reason}",
        "Leave out the crop size, so that crops have the network's own.",
    )
