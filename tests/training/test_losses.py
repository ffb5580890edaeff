import math

import numpy as np
import pytest
import torch

from jetseg.training.class_weights import class_weights, enet_weights, median_weights
from jetseg.training.loaders import LabelledFrames
from jetseg.training.losses import SegmentationLoss, cross_entropy, lovasz_softmax, soft_dice

generator = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 5, generator=generator)
LABELS = torch.randint(0, 3, (2, 4, 5), generator=generator)
LABELS[:, 0] = 255
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


def pixels():
    """Yields (label, probabilities) of labelled pixels, in plain Python."""
    for n, y, x in np.ndindex(2, 4, 5):
        label = int(LABELS[n, y, x])
        if label != 255:
            exponents = [math.exp(value) for value in LOGITS[n, :, y, x].tolist()]
            yield label, [value / sum(exponents) for value in exponents]


def test_cross_entropy_is_the_naive_mean():
    losses = [-math.log(p[label]) for label, p in pixels()]
    assert cross_entropy(LOGITS, LABELS, 255).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_weighted_cross_entropy_is_the_naive_weighted_mean():
    weights = [WEIGHTS[label].item() for label, _ in pixels()]
    losses = [-math.log(p[label]) for label, p in pixels()]
    expected = np.average(losses, weights=weights)
    assert cross_entropy(LOGITS, LABELS, 255, WEIGHTS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0)])
def test_one_channel_is_learned_by_binary_cross_entropy(weights):
    logits = torch.randn(2, 1, 4, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
    labels = LABELS.clamp(max=1).where(LABELS != 255, 255)
    labelled = labels != 255
    per_pixel = torch.tensor(weights or (1.0, 1.0))[labels.where(labelled, 0)][labelled]
    scores, target = logits[:, 0][labelled], labels[labelled].float()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    expected = (losses * per_pixel).sum() / per_pixel.sum()
    loss = SegmentationLoss(255, weights)(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (found,), (wanted,) = (torch.autograd.grad(value, logits, retain_graph=True) for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


def test_hardest_pixels_are_kept():
    losses = sorted((-math.log(p[label]) for label, p in pixels()), reverse=True)
    expected = np.mean(losses[: int(0.3 * len(losses))])
    assert cross_entropy(LOGITS, LABELS, 255, None, 0.3).item() == pytest.approx(expected, rel=1e-5)
    everything = cross_entropy(LOGITS, LABELS, 255, None, 1.0)
    torch.testing.assert_close(everything, cross_entropy(LOGITS, LABELS, 255))


def test_soft_dice_is_the_naive_one():
    terms = []
    for c in range(3):
        overlap = sum(p[c] for label, p in pixels() if label == c)
        size = sum(p[c] + (label == c) for label, p in pixels())
        terms.append(2 * overlap / size)
    assert soft_dice(LOGITS, LABELS, 255).item() == pytest.approx(1 - np.mean(terms), rel=1e-5)


def test_soft_dice_leaves_absent_classes_out():
    labels = torch.zeros_like(LABELS)
    perfect = torch.tensor([50.0, -50.0, -50.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    assert soft_dice(perfect, labels, None).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("fraction", [None, 0.5])
def test_a_batch_without_labels_gives_zero(fraction):
    logits = LOGITS.clone().requires_grad_()
    loss = SegmentationLoss(255, ohem_fraction=fraction, dice_weight=1.0)(logits, torch.full_like(LABELS, 255))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_nothing_is_ignored_without_ignore_index():
    labels = LABELS.clamp(max=2)
    expected = torch.nn.functional.cross_entropy(LOGITS, labels)
    torch.testing.assert_close(SegmentationLoss()(LOGITS, labels.to(torch.uint8)), expected)


def test_auxiliary_heads_are_weighted_and_resized():
    small = torch.randn(2, 3, 2, 2, generator=generator)
    upsampled = torch.nn.functional.interpolate(small, (4, 5), mode="bilinear", align_corners=False)
    loss = SegmentationLoss(255, aux_weight=0.4)
    expected = cross_entropy(LOGITS, LABELS, 255) + 0.4 * cross_entropy(upsampled, LABELS, 255)
    torch.testing.assert_close(loss((LOGITS, small), LABELS), expected)


@pytest.mark.parametrize("fraction", [None, 0.5])
def test_channels_beyond_the_classes_have_no_weight(fraction):
    weights = torch.tensor([1.0, 2.0, 3.0])
    wide = torch.cat([LOGITS, torch.full_like(LOGITS[:, :1], -1e9)], 1)
    expected = cross_entropy(LOGITS, LABELS, 255, weights, fraction)
    torch.testing.assert_close(cross_entropy(wide, LABELS, 255, weights, fraction), expected)


def test_class_weights_are_the_published_formulas():
    counts = np.array([[60, 20, 0], [10, 10, 0]])
    assert enet_weights(counts) == pytest.approx([1 / math.log(1.72), 1 / math.log(1.32), 1 / math.log(1.02)])
    # 70 of 100 pixels where road occurs, 30 of 100 where cars do: the median is 0.5
    assert median_weights(counts) == pytest.approx([0.5 / 0.7, 0.5 / 0.3, 1.0])


def test_counts_skip_ignored_pixels_and_are_kept(tmp_path, toy_roads):
    frames = LabelledFrames(toy_roads("toy", "train"), [0, 1, 2], 10)
    labels = np.stack([frames[index][1] for index in range(3)])
    share = [(labels == c).sum() / (labels != 255).sum() for c in range(3)]
    weights = class_weights("enet", frames, tmp_path)
    assert weights == pytest.approx([1 / math.log(1.02 + p) for p in share])

    other = LabelledFrames(toy_roads("toy", "train"), [0, 1, 2], 10)
    other._kept = None
    other._indices = [9, 9, 9]
    assert class_weights("enet", other, tmp_path) == weights, "the kept counts were not used"
    assert class_weights("none", frames, tmp_path) is None


def test_lovasz_of_hard_predictions_is_one_minus_iou():
    labels = torch.tensor([[[0, 0, 1, 1, 2, 255]]])
    predicted = torch.tensor([[[0, 1, 1, 1, 0, 2]]])
    logits = 100.0 * torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    # IoU without the ignored pixel: 1/3, 2/3, 0
    assert lovasz_softmax(logits, labels, 255).item() == pytest.approx(1 - np.mean([1 / 3, 2 / 3, 0]), abs=1e-5)


def test_lovasz_has_a_gradient_where_it_matters():
    logits = LOGITS.clone().requires_grad_()
    lovasz_softmax(logits, LABELS, 255).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:, :, 1:].abs().sum() > 0
    assert logits.grad[:, :, 0].abs().sum() == 0  # not labelled
