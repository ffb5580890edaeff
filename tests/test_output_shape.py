import numpy as np
import pytest

from jetseg.errors import ManifestError
from jetseg.manifest import Manifest
from jetseg.output_shape import check_output

CLASSES = tuple("abcdefghijk")


def manifest(height=90, width=120, classes=CLASSES, **output):
    return Manifest(input={"height": height, "width": width}, outputs=({"classes": classes, **output},))


@pytest.mark.parametrize(
    ("shape", "dtype", "output"),
    [
        ((1, 11, 90, 120), np.float32, {}),
        ((1, 12, 90, 120), np.float16, {}),  # the last channel is void
        ((1, 11, 12, 15), np.float32, {}),  # an eighth, rounded up
        ((1, 11, 11, 15), np.float32, {}),  # and down
        ((1, 11, 360, 480), np.float64, {}),
        ((1, 90, 120, 11), np.float32, {"layout": "nhwc"}),
        ((1, 23, 30, 11), np.float32, {"layout": "nhwc"}),
        (("batch", 11, "height", None), np.float32, {}),
        ((-1, 11, -1, -1), np.float32, {}),
        ((1, 90, 120), np.uint8, {"kind": "classmap"}),
        ((1, 1, 45, 60), np.int64, {"kind": "classmap"}),
        ((1, 90, 120, 1), np.int32, {"kind": "classmap", "layout": "nhwc"}),
        ((1, 1, 90, 120), np.float32, {"classes": ("no", "yes"), "activation": "sigmoid"}),
    ],
)
def test_what_the_manifest_promises_passes(shape, dtype, output):
    check_output("out", shape, dtype, manifest(**output))


@pytest.mark.parametrize(
    ("shape", "dtype", "output", "words"),
    [
        ((1, 90, 120, 11), np.float32, {}, r"120x11 pixels.*`layout: nhwc`"),
        ((1, 360, 480, 11), np.float32, {}, r"`layout: nhwc`"),
        ((1, 11, 90, 120), np.float32, {"layout": "nhwc"}, r"`layout: nchw`"),
        ((1, 11, 120, 90), np.float32, {}, "120x90 pixels are not in these proportions"),
        ((1, 11, 90, 90), np.float32, {}, "90x90 pixels are not in these proportions"),
        ((1, 10, 90, 120), np.float32, {}, "10 channels are fewer"),
        ((1, 300, 90, 120), np.float32, {}, "300 channels are more"),
        ((2, 11, 90, 120), np.float32, {}, "the batch is 2"),
        ((11, 90, 120), np.float32, {}, "four axes"),
        ((1, 90, 120), np.int64, {}, "`kind: classmap`"),
        ((1, 11, 90, 120), np.float32, {"kind": "classmap"}, "`kind: logits`"),
        ((1, 3, 90, 120), np.uint8, {"kind": "classmap"}, "one map is expected"),
        ((1, 120, 90), np.uint8, {"kind": "classmap"}, "120x90 pixels"),
        ((1, 1, 90, 120), np.float32, {"classes": ("no", "yes")}, "`activation: sigmoid`"),
        ((1, 2, 90, 120), np.float32, {"classes": ("no", "yes"), "activation": "sigmoid"}, "there are 2"),
    ],
)
def test_what_it_does_not_promise_is_refused_with_the_key_to_change(shape, dtype, output, words):
    with pytest.raises(ManifestError, match=words):
        check_output("out", shape, dtype, manifest(**output))
