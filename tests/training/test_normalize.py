import numpy as np
import pytest
import torch

from jetseg.input_spec import InputSpec
from jetseg.preprocess import Preprocessor
from jetseg.training.normalize import Normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(height=40, width=50, scale=1 / 255, mean=MEAN, std=STD),
        InputSpec(height=40, width=50, color="bgr", mean=(110.3, 108.4, 105.0), std=(18392.0, 18536.0, 17825.5)),
        InputSpec(height=40, width=50, color="gray", scale=1 / 255, mean=(0.449,), std=(0.226,)),
    ],
)
def test_torch_makes_the_same_input_as_the_vehicle(spec):
    preprocess = Preprocessor(spec)
    expected = np.concatenate([preprocess(frame) for frame in FRAMES])
    value = Normalize(spec)(torch.from_numpy(FRAMES))
    assert value.dtype == torch.float32
    np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
