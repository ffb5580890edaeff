import math

import numpy as np
import pytest
import torch

from jetseg.errors import ConfigError
from jetseg.training.config import DistillConfig
from jetseg.training.distillation import DistillationLoss, check_same_classes, distillation_warnings, with_features
from jetseg.training.distillation_losses import (
    channel_wise_loss,
    feature_loss,
    pixel_relation_loss,
    relational_loss,
    soft_label_loss,
)
from jetseg.training.teacher import TeacherOutput

generator = torch.Generator().manual_seed(1)
STUDENT = torch.randn(2, 3, 4, 5, generator=generator)
TEACHER = torch.randn(2, 3, 4, 5, generator=generator)


def softmax(values):
    exponents = [math.exp(value) for value in values]
    return [value / sum(exponents) for value in exponents]


def divergence(teacher, student, temperature):
    p = softmax([value / temperature for value in teacher])
    q = softmax([value / temperature for value in student])
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_soft_labels_by_hand():
    terms = [
        divergence(TEACHER[n, :, y, x].tolist(), STUDENT[n, :, y, x].tolist(), 3.0) for n, y, x in np.ndindex(2, 4, 5)
    ]
    assert soft_label_loss(STUDENT, TEACHER, 3.0).item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_channel_wise_by_hand():
    terms = [
        divergence(TEACHER[n, c].flatten().tolist(), STUDENT[n, c].flatten().tolist(), 4.0) for n, c in np.ndindex(2, 3)
    ]
    assert channel_wise_loss(STUDENT, TEACHER, 4.0).item() == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("loss", [soft_label_loss, channel_wise_loss, relational_loss, pixel_relation_loss])
def test_a_student_that_agrees_pays_nothing(loss):
    assert loss(TEACHER, TEACHER, 2.0).item() == pytest.approx(0.0, abs=1e-6)


class FakeTeacher:
    def __init__(self, manifest):
        self.manifest = manifest
        self.seen = None

    def __call__(self, frames):
        self.seen = frames
        return TeacherOutput(torch.ones(len(frames), 3, *frames.shape[1:3]))


def test_a_teacher_with_a_larger_input_sees_larger_crops(manifest):
    big = manifest.model_copy(update={"input": manifest.input.model_copy(update={"height": 64, "width": 96})})
    teacher = FakeTeacher(big)
    loss = DistillationLoss(teacher, (32, 48), DistillConfig(cwd_weight=0.5))
    student = torch.randn(2, 3, 16, 16, requires_grad=True)
    value = loss((student, student), torch.zeros(2, 16, 16, 3, dtype=torch.uint8))
    assert teacher.seen.shape == (2, 32, 32, 3)
    flat = torch.ones_like(student)
    expected = soft_label_loss(student, flat, 2.0) + 0.5 * channel_wise_loss(student, flat, 4.0)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert student.grad is not None


def test_other_class_names_are_both_listed():
    with pytest.raises(ConfigError, match="teacher's classes are sky, road; the student's are road, sky"):
        check_same_classes(("sky", "road"), ("road", "sky"))


def test_relational_loss_by_hand():
    student, teacher = (STUDENT.softmax(1).numpy(), TEACHER.softmax(1).numpy())
    across_classes = [np.corrcoef(student[n, :, y, x], teacher[n, :, y, x])[0, 1] for n, y, x in np.ndindex(2, 4, 5)]
    across_pixels = [np.corrcoef(student[n, c].ravel(), teacher[n, c].ravel())[0, 1] for n, c in np.ndindex(2, 3)]
    expected = 2 - np.mean(across_classes) - np.mean(across_pixels)
    assert relational_loss(STUDENT, TEACHER, 1.0).item() == pytest.approx(expected, rel=1e-4)


def test_pixel_relations_by_hand():
    teacher = torch.randn(2, 7, 4, 5, generator=torch.Generator().manual_seed(2))
    rows = []
    for features in (STUDENT, teacher):
        pixels = features.flatten(2).transpose(1, 2).flatten(0, 1).numpy()  # fewer than 16 x 16: none is averaged
        unit = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
        rows.append(unit @ unit.T / 0.1)
    terms = [divergence(t.tolist(), s.tolist(), 1.0) for s, t in zip(*rows, strict=True)]
    assert pixel_relation_loss(STUDENT, teacher, 0.1).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_features_are_compared_in_units_of_their_channel():
    teacher = torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(3))
    assert feature_loss(teacher, teacher).item() == 0
    scaled = teacher * torch.tensor([1.0, 100.0, 0.01]).view(1, 3, 1, 1)
    off = scaled + scaled.std(dim=(0, 2, 3), keepdim=True)
    assert feature_loss(off, scaled).item() == pytest.approx(1.0, rel=1e-4)


def test_a_student_learns_features_through_an_adapter():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 3, 1))
    student = with_features(network, 6, DistillConfig(mimic_weight=1.0, student_layer="1"))
    outputs, features, adapted = student(torch.randn(1, 3, 8, 8))
    assert outputs.shape == (1, 3, 8, 8)
    torch.testing.assert_close(network[1](features), outputs)
    assert adapted.shape == (1, 6, 8, 8)
    adapted.sum().backward()
    assert network[0].weight.grad is not None
    assert student.adapter.weight.grad is not None


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="student has no convolution named 'classifier'"):
        with_features(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), 6, DistillConfig(relation_weight=1.0))


def test_a_method_known_to_hurt_is_warned_about():
    attention = torch.nn.Sequential(torch.nn.LayerNorm(4))
    convolution = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    config = DistillConfig(cwd_weight=1.0)
    assert "75.58 to 74.80" in distillation_warnings(config, attention)[0]
    assert distillation_warnings(config, convolution) == []
    assert distillation_warnings(DistillConfig(), attention) == []
