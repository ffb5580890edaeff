"""The losses of several tasks, and how much each of them weighs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetseg.output_spec import DepthSpec, OutputSpec
from jetseg.training.losses import SegmentationLoss
from jetseg.training.task_balance import Balance

_IGNORED = 255
_VARIANCE_SHARE = 0.85
"""How much of the squared mean error SILog takes off; 1 would make it blind to the scale altogether."""


class TaskLosses(nn.Module):
    """The loss of each task of a network whose scores are joined along the channels.

    Args:
        outputs: Say which channels are whose.
        main: Settings of the loss of the main task, as of `SegmentationLoss`.
    """

    def __init__(self, outputs: Sequence[OutputSpec], main: Mapping[str, float | None] | None = None) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.losses = nn.ModuleList(
            SegmentationLoss(_IGNORED, **(main or {}) if number == 0 else {})  # type: ignore[arg-type]
            for number, _ in enumerate(self.outputs)
        )

    def forward(self, joined: Tensor, planes_nhwk: Tensor) -> list[Tensor | None]:
        """Returns one scalar per task; None for a task that has no label in the batch.

        Args:
            joined: Scores of all tasks, N x sum of channels x h x w.
            planes_nhwk: Labels, float32, N x H x W x number of tasks; not a number where there is none.
        """
        return [
            self._one(loss, output, scores, planes_nhwk[..., number])
            for number, (loss, output, scores) in enumerate(
                zip(self.losses, self.outputs, split_scores(joined, self.outputs), strict=True)
            )
        ]

    @staticmethod
    def _one(loss: nn.Module, output: OutputSpec, scores: Tensor, plane: Tensor) -> Tensor | None:
        labelled = ~torch.isnan(plane)
        if output.depth is not None:
            labelled = (plane >= output.depth.low) & (plane <= output.depth.high)
        if not bool(labelled.any()):
            return None
        if output.depth is not None:
            return depth_loss(log_depth(scores, output), plane, labelled, output.depth)
        labels = torch.where(labelled, plane, torch.full_like(plane, _IGNORED)).to(torch.uint8)
        found: Tensor = loss(scores, labels)
        return found


def split_scores(joined: Tensor, outputs: Sequence[OutputSpec]) -> tuple[Tensor, ...]:
    """Takes joined scores apart, a view for each output."""
    return torch.split(joined, [output.channels for output in outputs], dim=1)


def log_depth(scores: Tensor, output: OutputSpec) -> Tensor:
    """Returns the logarithm of depth, N x H x W, from the scores of a depth output, N x 1 x H x W."""
    if output.depth is None:
        raise TypeError("only a depth output has depth")
    low, high = (torch.log(scores.new_tensor(value)) for value in (output.depth.low, output.depth.high))
    if output.activation == "sigmoid":
        return low + (high - low) * torch.sigmoid(scores[:, 0].float())
    return torch.log(scores[:, 0].float().clamp(min=1e-3))


def depth_loss(found_log: Tensor, truth: Tensor, labelled: Tensor, spec: DepthSpec) -> Tensor:
    """Returns the mean loss of depth over the labelled pixels.

    Args:
        found_log: Logarithm of what was found, N x H x W.
        truth: Depth, N x H x W.
        labelled: Which pixels count, one at least.
        spec: Names the loss.

    >>> truth = torch.full((1, 1, 2), 10.0)
    >>> round(depth_loss(truth.log() + 0.1, truth, truth > 0, DepthSpec(loss="log-l1")).item(), 4)
    0.1
    """
    found, wanted = found_log[labelled], truth[labelled]
    if spec.loss == "l1":
        return F.l1_loss(found.exp(), wanted) / spec.high
    if spec.loss == "log-l1":
        return F.l1_loss(found, wanted.log())
    error = found - wanted.log()
    variance: Tensor = error.square().mean() - _VARIANCE_SHARE * error.mean().square()
    return variance.clamp(min=1e-12).sqrt()


def total_loss(losses: Sequence[Tensor | None], balance: Balance, joined: Tensor) -> Tensor:
    """Returns the weighted sum of the losses that there are; zero, with a gradient of zero, if there is none."""
    if all(loss is None for loss in losses):
        return joined.sum() * 0.0
    total: Tensor = balance(losses)
    return total
