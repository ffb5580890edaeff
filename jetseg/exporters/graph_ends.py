"""What an exported graph may do besides the network: normalize the frame, pick the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jetseg.exporters.config import Head, InputKind
from jetseg.input_spec import InputSpec
from jetseg.training.normalize import GRAY_BGR, GRAY_BITS

_BLOCK = 4


class DeployedNetwork(nn.Module):
    """A network with the first and last step of the pipeline inside.

    Args:
        network: Turns normalized float32 N x C x H x W into logits N x classes x H x W.
        spec: Input of the network.
        input_kind: "normalized" takes what the network takes; "frame" takes uint8, N x H x W x 3 in the color
            order of `spec` (BGR if that is gray), and normalizes it.
        head: "logits", "classmap" for uint8, N x H x W, or "confidence" for uint8, N x 2 x H x W, with a second plane
            of 255 times the probability of the class, the same for blocks of 4 x 4 pixels.
        score_threshold: What the score of the one channel must exceed for the second class; None where there is a
            channel per class.
        temperature: What logits are divided by before they become confidence.
        for_plan: Leaves uint8 to the ends, as TensorRT asks: frames become floats before anything else, and class ids
            are int64, which whoever builds the plan casts as its output.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: InputSpec,
        input_kind: InputKind,
        head: Head,
        score_threshold: float | None = None,
        *,
        temperature: float = 1.0,
        for_plan: bool = False,
    ) -> None:
        super().__init__()
        self.score_threshold, self.temperature = score_threshold, temperature
        self.network = network
        self.frame = FrameNormalization(spec, cast_first=for_plan) if input_kind == "frame" else nn.Identity()
        self.head = head
        self.class_id = torch.int64 if for_plan else torch.uint8

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits or class ids."""
        logits: Tensor = self.network(self.frame(image))
        if self.head == "logits":
            return logits if logits.dtype == torch.float32 else logits.float()
        if self.head == "confidence":
            return self._with_confidence(logits)
        if self.score_threshold is None:
            return logits.argmax(dim=1).to(self.class_id)
        # by way of int32, since TensorRT makes no uint8 of a truth value
        return (logits > self.score_threshold).to(torch.int32).to(self.class_id).squeeze(1)

    def _with_confidence(self, logits: Tensor) -> Tensor:
        """Returns class ids and confidence; only one pixel of a block is looked at, which costs a sixteenth."""
        sampled = logits[:, :, _BLOCK // 2 :: _BLOCK, _BLOCK // 2 :: _BLOCK].float()
        heated = sampled if self.temperature == 1 else sampled / self.temperature
        sure = torch.softmax(heated, dim=1).amax(dim=1, keepdim=True)
        spread = nn.functional.interpolate(sure, size=logits.shape[2:], mode="nearest")
        planes = [logits.argmax(dim=1, keepdim=True).to(torch.int32), (255 * spread + 0.5).to(torch.int32)]
        return torch.cat(planes, dim=1).to(torch.uint8)


class DeployedTasks(nn.Module):
    """A network of several tasks with the first and last step of the pipeline inside.

    Args:
        network: As `outputs_apart` lets it return a tuple of scores.
        spec: Input of the network.
        input_kind: As of `DeployedNetwork`.
        ends: For each output, what comes out: its scores or its class map.
    """

    def __init__(
        self, network: nn.Module, spec: InputSpec, input_kind: InputKind, ends: Sequence[tuple[Head, float | None]]
    ) -> None:
        super().__init__()
        self.network = network
        self.frame = FrameNormalization(spec) if input_kind == "frame" else nn.Identity()
        self.ends = nn.ModuleList(
            DeployedNetwork(nn.Identity(), spec, "normalized", head, threshold) for head, threshold in ends
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns scores or class ids of each output."""
        scores = self.network(self.frame(image))
        return tuple(end(part) for end, part in zip(self.ends, scores, strict=True))


class FrameNormalization(nn.Module):
    """Does to a frame what `jetseg.preprocess.Preprocessor` does after resizing.

    Args:
        spec: Input of the network.
        cast_first: Pixels become floats before their axes are reordered; otherwise bytes are, which are fewer.
    """

    shift: Tensor
    gain: Tensor
    gray_weights: Tensor

    def __init__(self, spec: InputSpec, *, cast_first: bool = False) -> None:
        super().__init__()
        self.cast_first = cast_first
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (spec.mean, spec.std))
        # (pixel * scale - mean) / std = (pixel - shift) * gain: one subtraction and one product. Both are written
        # out over a row: ONNX Runtime may move the transposition behind them, and repeating three numbers along
        # the innermost axis costs it 20 times as much as repeating a row (1.8 against 0.1 ms at 320x192).
        row = (1, spec.channels, 1, spec.width)
        self.register_buffer("shift", (mean / spec.scale).float().reshape(1, -1, 1, 1).expand(row).clone())
        self.register_buffer("gain", (spec.scale / std).float().reshape(1, -1, 1, 1).expand(row).clone())
        self.gray = spec.color == "gray"
        weights = torch.tensor(GRAY_BGR, dtype=torch.float32) / (1 << GRAY_BITS)  # exact in float32
        self.register_buffer("gray_weights", weights.reshape(1, 3, 1, 1))

    def forward(self, frame_nhwc_u8: Tensor) -> Tensor:
        """Returns float32, N x channels x H x W."""
        pixels = frame_nhwc_u8.float() if self.cast_first else frame_nhwc_u8
        pixels = pixels.permute(0, 3, 1, 2).float()
        if self.gray:
            pixels = torch.floor((pixels * self.gray_weights).sum(dim=1, keepdim=True) + 0.5)
        return (pixels - self.shift) * self.gain
