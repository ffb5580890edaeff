import pytest

from jetseg.engine.gpu_precisions import lacks


@pytest.mark.parametrize(
    ("capability", "precision", "there"),
    [
        ("7.2", "int8", True),
        ("7.5", "bf16", False),
        ("8.0", "bf16", True),
        ("8.7", "bf16", True),
        ("8.7", "fp8", False),
        ("8.9", "fp8", True),
        ("11.0", "fp8", True),
        ("12.0", "fp8", True),
    ],
)
def test_a_gpu_has_what_nvidia_lists(capability, precision, there):
    assert (lacks(capability, precision) is None) == there
