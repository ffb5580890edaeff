import numpy as np
import pytest

from jetseg.engine.litert.weights import to_half
from jetseg.errors import ArtifactError


def test_what_half_precision_cannot_hold_is_refused_by_name():
    np.testing.assert_array_equal(to_half("w", np.float32([65504, -1])), np.float16([65504, -1]))
    with pytest.raises(ArtifactError, match=r"conv.weight is 7e\+04"):
        to_half("conv.weight", np.float32([1, -70000]))
