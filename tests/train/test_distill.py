import math

import numpy as np
import pytest
import torch

from jetseg.errors import ConfigError
from jetseg.train.distill import (
    DistillationLoss,
    channel_wise_loss,
    check_same_classes,
    soft_label_loss,
)

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


@pytest.mark.parametrize("loss", [soft_label_loss, channel_wise_loss])
def test_a_student_that_agrees_pays_nothing(loss):
    assert loss(TEACHER, TEACHER, 2.0).item() == pytest.approx(0.0, abs=1e-6)


class FakeTeacher:
    def __init__(self, manifest):
        self.manifest = manifest
        self.seen = None

    def __call__(self, frames):
        self.seen = frames
        return torch.ones(len(frames), 3, *frames.shape[1:3])


def test_a_teacher_with_a_larger_input_sees_larger_crops(manifest):
    big = manifest.model_copy(update={"input": manifest.input.model_copy(update={"height": 64, "width": 96})})
    teacher = FakeTeacher(big)
    loss = DistillationLoss(teacher, (32, 48), kd_weight=1.0, temperature=2.0, cwd_weight=0.5, cwd_temperature=4.0)
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
