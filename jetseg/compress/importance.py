"""Criteria of pruning: how much each channel, or each weight, matters.

A criterion is one class. Another package adds one of its own by an entry point of the group "jetseg.criteria":

    class LargestWeight(Criterion):
        methods = ("unstructured",)

        def weight_scores(self, subject, layers):
            return {name: layer.weight.detach().abs() / layer.weight.abs().max() for name, layer in layers.items()}

What scores channels is called with a group of coupled channels (`jetseg.compress.groups.PruningGroup`) and returns one
score per unit of it; `group.slices` says what a unit removes from which parameter. Scores of different groups can be
ranked together.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from jetseg.compress.activity import Batch, channel_activity, input_activity
from jetseg.compress.config import Method
from jetseg.compress.groups import Importance, PruningGroup, Slices, mixing_layers, sum_over_readers
from jetseg.compress.layers import LAYERS
from jetseg.errors import ConfigError
from jetseg.output_spec import OutputSpec
from jetseg.registry import CRITERIA
from jetseg.training.losses import SegmentationLoss
from jetseg.training.task_losses import TaskLosses


@dataclass(frozen=True)
class Subject:
    """What a criterion is given.

    Attributes:
        module: A copy of the network in eval mode, on the CPU, with gradients enabled; gradients may be overwritten.
        outputs: What comes out, for a network of several tasks: then labels have a plane for each, and its scores are
            joined along the channels. Empty for one task.
        normalized: Whether every task counts the same, or as much as its loss happens to be large.
        batches: Frames and labels as the network takes them, to be walked through once; None for a criterion that
            needs none.
        ignore_index: Label id that is not scored, or None.
        seed: Fixes what is drawn at random.
        norm: 1 for the L1 norm, 2 for the squared L2 norm.
    """

    module: nn.Module
    batches: Iterable[Batch] | None = None
    ignore_index: int | None = None
    seed: int = 0
    norm: int = 2
    outputs: tuple[OutputSpec, ...] = ()
    normalized: bool = True

    @property
    def losses(self) -> Callable[[Tensor, Tensor], list[Tensor | None]]:
        """The loss of each task, given the network's output and labels; None where there is no label."""
        if self.outputs:
            return TaskLosses(self.outputs)
        one = SegmentationLoss(self.ignore_index)
        return lambda scores, label: [one(scores, label)]

    @property
    def frames(self) -> Iterable[Batch]:
        """The batches of a criterion that needs them.

        Raises:
            ConfigError: There are none.
        """
        if self.batches is None:
            raise ConfigError("This criterion looks at frames, and there are none.", "Give `data`.")
        return self.batches


class Criterion(ABC):  # noqa: B024 - one of both methods is enough
    """How unimportant channels or weights are found; made anew, without arguments, for each pruning.

    Attributes:
        needs_frames: Whether it looks at labelled frames.
        methods: What it goes with: "structured" asks it for scores of channels, the others for scores of weights.
    """

    needs_frames: ClassVar[bool] = False
    methods: ClassVar[tuple[Method, ...]] = ("structured",)

    def channel_importance(self, subject: Subject) -> Importance:
        """Returns what scores the channels of any group of `subject.module`, whose lowest channels are removed.

        Called with a group of coupled channels, it gives a 1-D tensor, one score per unit of the group, or None where
        it cannot tell, and the group stays.
        """
        raise NotImplementedError(f"{type(self).__name__} does not score channels")

    def weight_scores(self, subject: Subject, layers: Mapping[str, nn.Module]) -> Mapping[str, Tensor]:
        """Returns a score of at least 0 for each weight, in the weight's shape, by the layer's name.

        The lowest weights become zero.

        Args:
            subject: What is pruned.
            layers: The layers that may be pruned, by name.
        """
        raise NotImplementedError(f"{type(self).__name__} does not score weights")


def make_criterion(name: str, method: Method, *, frames: bool) -> Criterion:
    """Returns a criterion, after checking that it can do what is asked.

    Args:
        name: A name of `jetseg.registry.CRITERIA`.
        method: What is pruned.
        frames: Whether there are frames to look at.

    Raises:
        ConfigError: There is no such criterion, it does not go with the method, or it needs frames.
    """
    kind = CRITERIA.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Criterion)):
        raise ConfigError(f"The pruning criterion {name} is no Criterion.", "Derive it from jetseg's `Criterion`.")
    if method not in kind.methods:
        fitting = ", ".join(
            other for other in CRITERIA.names() if method in getattr(CRITERIA.get(other), "methods", ())
        )
        raise ConfigError(f"`criterion` {name} does not go with `method` {method}, which takes {fitting}.")
    if kind.needs_frames and not frames:
        raise ConfigError(f"`criterion` {name} looks at frames.", "Give `data`.")
    return kind()


class Magnitude(Criterion):
    """The L1 norm or squared L2 norm of a channel's weights (Li et al., arXiv:1608.08710), or a weight's magnitude.

    All layers that would lose the channel count: producers, normalization and consumers
    (Fang et al., arXiv:2301.12900).
    """

    methods = ("structured", "unstructured", "2:4")

    def channel_importance(self, subject: Subject) -> Importance:
        """Returns a function that gives the mean over all weights that a unit removes, in units of the group's mean."""

        def score(group: PruningGroup) -> Tensor | None:
            sizes = [
                part.per_unit(_sum_over_others(part.tensor.detach().abs().float() ** subject.norm, part.axis))
                for part in group.slices
                if _counts(part)
            ]
            total = torch.stack(sizes).mean(0) if sizes else None
            return None if total is None else total / total.mean().clamp(min=1e-30)

        return score

    def weight_scores(self, subject: Subject, layers: Mapping[str, nn.Module]) -> Mapping[str, Tensor]:
        """Returns magnitudes."""
        del subject
        return magnitudes(layers)


class BatchNormScale(Criterion):
    """The gain of the batch norms behind a channel (Liu et al., arXiv:1708.06519).

    Channels that several batch norms scale, as before an addition, get the mean of the absolute gains.
    """

    def channel_importance(self, subject: Subject) -> Importance:
        """Returns a function of the gains; it gives None for a group that no batch norm scales."""
        del subject
        return self._score

    @staticmethod
    def _score(group: PruningGroup) -> Tensor | None:
        gains = [
            part.per_unit(part.tensor.detach().abs().float())
            for part in group.slices
            if isinstance(part.layer, _BatchNorm) and part.name.endswith("weight")
        ]
        return torch.stack(gains).mean(0) if gains else None


class Taylor(Criterion):
    """How much the cross-entropy would change without a channel, to first order.

    Without a channel, the weights that read it multiply zeros; so the change is the sum of weight x gradient
    over all weights that read it, whatever layers they belong to (Molchanov et al., arXiv:1906.10771, with the
    gate behind normalization and activation). Its absolute value is averaged over single frames, because at
    the end of training signed changes cancel out. The scores of all groups have the same unit.

    Of several tasks, the scores of each are divided by their sum over the network, and then added: a channel counts by
    the share of each task that hangs on it, whatever the scale of the task's loss.
    """

    needs_frames = True

    def channel_importance(self, subject: Subject) -> Importance:
        """Runs the frames, and returns a function that gives None for channels that no layer reads."""
        readers = mixing_layers(subject.module)
        losses = subject.losses
        changes: list[dict[nn.Module, list[Tensor]]] = [
            {reader: [] for reader in readers} for _ in subject.outputs or [None]
        ]
        for images, labels in subject.frames:
            for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
                found = losses(subject.module(image), label)
                for of_task, loss in zip(changes, found, strict=True):
                    if loss is None:
                        continue
                    subject.module.zero_grad(set_to_none=True)
                    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
                    for reader in readers:
                        of_task[reader].append(change_by_input_channel(reader))
        rows = [{reader: torch.stack(row) for reader, row in of_task.items() if row} for of_task in changes]
        scales = [_scale(each) if subject.normalized and subject.outputs else 1.0 for each in rows]

        def score(group: PruningGroup) -> Tensor | None:
            parts = [
                change.abs().mean(dim=0) / scale
                for each, scale in zip(rows, scales, strict=True)
                if each and (change := sum_over_readers(group, each)) is not None
            ]
            return torch.stack(parts).sum(0) if parts else None

        return score


def _scale(rows: Mapping[nn.Module, Tensor]) -> float:
    """Returns how much all channels together matter to a task: divided by it, the scores of tasks compare."""
    return max(sum(float(changes.abs().mean(dim=0).sum()) for changes in rows.values()), 1e-30)


class Activation(Criterion):
    """A channel's mean absolute activation (Molchanov et al., arXiv:1611.06440).

    Measured where convolutions read the channels, so behind normalization, activation and addition. A weight's score is
    its magnitude times the activity of what it reads (Sun et al., arXiv:2306.11695).
    """

    needs_frames = True
    methods = ("structured", "unstructured")

    def channel_importance(self, subject: Subject) -> Importance:
        """Runs the frames, and returns a function that gives None for channels that no layer reads."""
        activity = channel_activity(subject.module, mixing_layers(subject.module), subject.frames)
        means = {reader: channels[None] for reader, channels in activity.items()}

        def score(group: PruningGroup) -> Tensor | None:
            total = sum_over_readers(group, means)
            # groups differ in scale for no reason that matters, so each is normalized to mean 1
            return None if total is None else total[0] / total.mean().clamp(min=1e-30)

        return score

    def weight_scores(self, subject: Subject, layers: Mapping[str, nn.Module]) -> Mapping[str, Tensor]:
        """Returns magnitude times activity; the magnitude alone for a layer that did not run."""
        activity = input_activity(subject.module, subject.frames)
        return {name: size * activity.get(name, 1.0) for name, size in magnitudes(layers).items()}


class Random(Criterion):
    """Chance: the baseline that any other criterion has to beat."""

    methods = ("structured", "unstructured")

    def channel_importance(self, subject: Subject) -> Importance:
        """Returns a function that draws a score in [0, 1) for each channel."""
        generator = torch.Generator().manual_seed(subject.seed)
        return lambda group: torch.rand(group.size, generator=generator)

    def weight_scores(self, subject: Subject, layers: Mapping[str, nn.Module]) -> Mapping[str, Tensor]:
        """Returns a score in (0, 1] for each weight."""
        generator = torch.Generator().manual_seed(subject.seed)
        return {name: 1.0 - torch.rand(size.shape, generator=generator) for name, size in magnitudes(layers).items()}


def _counts(part: Slices) -> bool:
    """Tells whether weights say how much a unit matters: those that mix or scale channels; depthwise ones do not."""
    depthwise = isinstance(part.layer, _ConvNd) and part.layer.groups > 1
    return isinstance(part.layer, (*LAYERS, _BatchNorm)) and part.name.endswith("weight") and not depthwise


def magnitudes(layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Returns the absolute weights of layers, by name."""
    return {name: layer.get_parameter("weight").detach().abs() for name, layer in layers.items()}


def _sum_over_others(values: Tensor, axis: int) -> Tensor:
    return values.sum(dim=[k for k in range(values.ndim) if k != axis]) if values.ndim > 1 else values


def change_by_input_channel(reader: _ConvNd | nn.Linear) -> Tensor:
    """Returns weight x gradient summed per input channel; zeros for a layer that did not run."""
    weight = reader.weight.detach()
    change = torch.zeros_like(weight) if reader.weight.grad is None else weight * reader.weight.grad
    axis = 0 if isinstance(reader, _ConvTransposeNd) else 1
    return _sum_over_others(change, axis)
