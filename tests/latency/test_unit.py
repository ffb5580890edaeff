"""An operator is written as a text and read back as it was; a text that is none is refused."""

import pytest

from jetseg.latency.unit import Unit, parse_unit

UNITS = (
    Unit("nchwc.Conv", "float", ((1, 8, 4, 6),), (1, 16, 2, 3), (16, 8, 3, 3), (2, 2), (1, 1), fused=("Add", "Relu")),
    Unit("QLinearConv", "uint8", ((1, 16, 4, 4),), (1, 16, 4, 4), (16, 1, 3, 3), dilation=(2, 2), groups=16),
    Unit("Resize", "float", ((1, 8, 4, 6),), (1, 8, 8, 12), fused=("linear", "half_pixel")),
    Unit("MatMul", "float", ((1, 4, 64, 16), (1, 4, 16, 64)), (1, 4, 64, 64)),
    Unit("ConstantOfShape", "int64", (), (4,)),
)


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_what_is_written_is_read_back(unit):
    again = parse_unit(str(unit))
    assert str(again) == str(unit)
    assert (again.macs, again.read, again.written, again.groups) == (unit.macs, unit.read, unit.written, unit.groups)


@pytest.mark.parametrize(
    ("unit", "macs"),
    [
        (Unit("Conv", "f", ((1, 8, 4, 6),), (1, 16, 4, 6), (16, 8, 3, 3)), 16 * 24 * 8 * 9),
        (Unit("QLinearConv", "f", ((1, 16, 4, 6),), (1, 16, 4, 6), (16, 1, 3, 3), groups=16), 16 * 24 * 9),
        (Unit("ConvTranspose", "f", ((1, 8, 4, 6),), (1, 16, 8, 12), (8, 16, 2, 2)), 8 * 24 * 16 * 4),
        (Unit("MatMul", "f", ((1, 64, 16), (1, 16, 32)), (1, 64, 32)), 64 * 32 * 16),
        (Unit("Resize", "f", ((1, 8, 4, 6),), (1, 8, 8, 12)), 0),
    ],
)
def test_multiply_accumulates_follow_from_the_shapes(unit, macs):
    assert unit.macs == macs


@pytest.mark.parametrize(
    "text",
    ["", "Conv", "Conv float 1x8 > ", "Conv float 1x0 > 1x8", "Conv float 1x8 > 1x99999999999999", "a b 1x8 > 1x8 w"],
)
def test_what_is_no_operator_is_refused(text):
    with pytest.raises(ValueError, match="is no"):
        parse_unit(text)
