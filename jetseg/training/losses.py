"""Losses against labels: cross-entropy (weighted, hardest pixels only), soft Dice, auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetseg.models.layers import resize_like, two_channels

Outputs = Tensor | tuple[Tensor, ...] | list[Tensor]
_NOTHING_IGNORED = -100
"""cross_entropy's own marker; no label byte ever has this value."""
_LOVASZ_STRIDE = 4
"""It sorts all pixels once per class: every fourth row and column says as much at a sixteenth of the cost."""


class SegmentationLoss(nn.Module):
    """Sums the losses of all heads of a network.

    Args:
        ignore_index: Label id that is not learned, or None.
        class_weights: One weight per class, or None.
        ohem_fraction: Learn only this fraction of the labelled pixels, the hardest ones; None for all.
        dice_weight: Weight of the soft Dice loss beside cross-entropy; 0 turns it off.
        lovasz_weight: Weight of the Lovasz-softmax loss; may be changed from step to step.
        aux_weight: Weight of each auxiliary head.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
        ohem_fraction: float | None = None,
        dice_weight: float = 0.0,
        lovasz_weight: float = 0.0,
        aux_weight: float = 0.4,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.ohem_fraction = ohem_fraction
        self.dice_weight = dice_weight
        self.lovasz_weight = lovasz_weight
        self.aux_weight = aux_weight
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, outputs: Outputs, labels_nhw: Tensor) -> Tensor:
        """Returns the scalar loss.

        Args:
            outputs: Logits, N x C x h x w, with C = 1 for two classes; or (main, *auxiliary) as networks give in
                training mode.
            labels_nhw: Class ids, N x H x W, any integer type.
        """
        main, *auxiliary = outputs if isinstance(outputs, tuple | list) else (outputs,)
        labels = labels_nhw.long()
        loss = self._head(main, labels)
        for logits in auxiliary:
            loss = loss + self.aux_weight * self._head(logits, labels)
        return loss

    def _head(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = two_channels(resize_like(logits, labels))
        loss = cross_entropy(logits, labels, self.ignore_index, self.class_weights, self.ohem_fraction)
        if self.dice_weight:
            loss = loss + self.dice_weight * soft_dice(logits, labels, self.ignore_index)
        if self.lovasz_weight:
            grid = slice(None, None, _LOVASZ_STRIDE)
            sampled = logits[..., grid, grid], labels[..., grid, grid]
            loss = loss + self.lovasz_weight * lovasz_softmax(*sampled, self.ignore_index)
        return loss


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int | None = None,
    class_weights: Tensor | None = None,
    ohem_fraction: float | None = None,
) -> Tensor:
    """Returns the mean cross-entropy over labelled pixels; 0 when no pixel is labelled.

    With `ohem_fraction`, only the pixels with the largest losses count (online hard example mining,
    arXiv:1604.03540); their mean is taken without the weights' normalization.

    Args:
        logits: float, N x C x H x W.
        labels: int64, N x H x W.
        ignore_index: Label id that does not count, or None.
        class_weights: float, C; the mean is weighted, as `torch.nn.functional.cross_entropy` does.
        ohem_fraction: Fraction of the labelled pixels to keep, in (0, 1].

    >>> cross_entropy(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)).item()
    0.6931471824645996
    """
    ignored = _NOTHING_IGNORED if ignore_index is None else ignore_index
    if class_weights is not None:  # channels beyond the classes are nobody's label
        class_weights = F.pad(class_weights, (0, logits.shape[1] - len(class_weights)))
    if ohem_fraction is None:
        total = F.cross_entropy(logits, labels, class_weights, ignore_index=ignored, reduction="sum")
        labelled = (labels != ignored).float()
        if class_weights is not None:
            labelled = labelled * class_weights[labels.clamp(0, len(class_weights) - 1)]
        return total / labelled.sum().clamp(min=1e-6)
    losses = F.cross_entropy(logits, labels, class_weights, ignore_index=ignored, reduction="none").flatten()
    kept = int(ohem_fraction * int((labels != ignored).sum()))
    return losses.topk(max(kept, 1)).values.mean()


def soft_dice(logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Returns 1 - the mean soft Dice overlap of the classes that occur in `labels` (arXiv:1707.03237).

    Sums run over the whole batch, so that a class which is small in one frame is not judged on a few pixels.

    Args:
        logits: float, N x C x H x W.
        labels: int64, N x H x W.
        ignore_index: Label id whose pixels do not count, or None.
    """
    ids = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    target = (labels[:, None] == ids).float()
    probabilities = logits.float().softmax(1)
    if ignore_index is not None:
        labelled = (labels != ignore_index)[:, None]
        probabilities, target = probabilities * labelled, target * labelled
    per_class = (0, 2, 3)
    pixels = target.sum(per_class)
    present = pixels > 0
    overlap = 2.0 * (probabilities * target).sum(per_class) / (probabilities.sum(per_class) + pixels + 1e-6)
    return ((1.0 - overlap) * present).sum() / present.sum().clamp(min=1)


def lovasz_softmax(logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Returns the Lovasz extension of 1 - IoU, mean over the classes that occur in `labels` (arXiv:1705.08790).

    Sums run over the whole batch.

    Args:
        logits: float, N x C x H x W.
        labels: int64, N x H x W.
        ignore_index: Label id whose pixels do not count, or None.

    >>> logits = torch.tensor([[4.0, -4.0], [-4.0, 4.0]]).reshape(1, 2, 1, 2) * 10
    >>> round(lovasz_softmax(logits, torch.tensor([[[0, 1]]])).item(), 4)
    0.0
    """
    probabilities = logits.float().softmax(1).movedim(1, 0).flatten(1)
    flat = labels.flatten()
    if ignore_index is not None:
        labelled = flat != ignore_index
        probabilities, flat = probabilities[:, labelled], flat[labelled]
    losses = []
    for class_id in torch.unique(flat).tolist():
        target = (flat == class_id).float()
        errors, order = (target - probabilities[class_id]).abs().sort(descending=True)
        losses.append((errors * _jaccard_steps(target[order])).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def _jaccard_steps(target: Tensor) -> Tensor:
    """Returns by how much 1 - IoU grows as each pixel, in the given order, is counted as wrong."""
    missed = target.cumsum(0)
    union = target.sum() + (1.0 - target).cumsum(0)
    loss = 1.0 - (target.sum() - missed) / union
    return torch.cat([loss[:1], loss[1:] - loss[:-1]])
