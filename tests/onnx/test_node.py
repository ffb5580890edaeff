import numpy as np
from onnx import helper, numpy_helper

from jetseg.onnx.node import attribute_float, attribute_int, attribute_ints, attribute_text, attributes, node_title

NODE = helper.make_node(
    "Resize",
    ["x"],
    ["y"],
    mode="linear",
    axes=[2, 3],
    cubic_coeff_a=-0.5,
    antialias=1,
    t=numpy_helper.from_array(np.eye(2)),
)


def test_attributes_have_their_types():
    assert attribute_text(NODE, "mode") == "linear"
    assert attribute_text(NODE, "nearest_mode", "floor") == "floor"
    assert attribute_ints(NODE, "axes") == (2, 3)
    assert attribute_ints(NODE, "pads", (0, 0)) == (0, 0)
    assert attribute_float(NODE, "cubic_coeff_a", 0.0) == -0.5
    assert attribute_int(NODE, "antialias", 0) == 1
    assert attribute_int(NODE, "exclude_outside", 7) == 7


def test_all_attributes_at_once():
    found = attributes(NODE)
    np.testing.assert_array_equal(numpy_helper.to_array(found.pop("t")), np.eye(2))
    assert found == {"mode": "linear", "axes": [2, 3], "cubic_coeff_a": -0.5, "antialias": 1}


def test_a_node_without_a_name_is_called_by_its_output():
    assert node_title(NODE) == "y (Resize)"
    assert node_title(helper.make_node("Relu", ["x"], ["y"], name="act")) == "act (Relu)"
