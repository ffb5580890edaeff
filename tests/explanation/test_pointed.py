"""The object that somebody points at."""

import numpy as np
import pytest

from jetseg.data.contract import Sample
from jetseg.errors import ConfigError
from jetseg.explanation.pointed import find_pointed


class Frames:
    spec, split, classes, palette, ignore_index = "made:", "all", ("road", "sign"), ((0, 0, 0), (9, 9, 9)), 255

    def __len__(self):
        return 3

    def __getitem__(self, index):
        label = np.zeros((20, 30), np.uint8)
        label[2:6, 3:8] = label[10:14, 20:25] = 1
        label[18:] = 255
        return Sample(f"frame{index}", np.zeros((20, 30, 3), np.uint8), label)


@pytest.mark.parametrize("frame", ["frame1", "1"])
def test_the_object_at_a_pixel_is_one_patch_of_its_class(frame):
    found = find_pointed(Frames(), f"{frame}:4,3")
    wanted = np.zeros((20, 30), bool)
    wanted[2:6, 3:8] = True
    assert (found.sample.name, found.number) == ("frame1", 1)
    np.testing.assert_array_equal(found.mask_hw, wanted)
    assert find_pointed(Frames(), "2:0,0").mask_hw.sum() == 18 * 30 - 40


@pytest.mark.parametrize(
    ("at", "said"),
    [("4,3", "no pixel of a frame"), ("1:30,0", "30x20"), ("1:0,19", "says nothing"), ("7:0,0", "has no frame 7"), ("x:0,0", "has no frame x")],
)  # fmt: skip
def test_what_is_no_pixel_is_refused(at, said):
    with pytest.raises(ConfigError, match=said):
        find_pointed(Frames(), at)
