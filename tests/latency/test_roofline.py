"""A latency from published peaks follows from work and peaks, and says that it is rough."""

import pytest

from jetseg.errors import ConfigError
from jetseg.latency.roofline import Efficiency, Roofline, compare
from jetseg.latency.unit import Unit
from jetseg.targets import TARGETS, Target, find_target

CONV = Unit("Conv", "fp16", ((1, 64, 64, 64),), (1, 64, 64, 64), (64, 64, 3, 3))
DEPTHWISE = Unit("Conv", "fp16", ((1, 64, 64, 64),), (1, 64, 64, 64), (64, 1, 3, 3), groups=64)
IDEAL = Efficiency(compute=1.0, memory=1.0, launch_ms=0.0, factor=1.5, source="")
DEVICE = Target(
    name="d", title="Device", compute_capability="8.7", bandwidth_gb_per_s=100, fp16_tflops=10, source="a test"
)


def test_time_is_that_of_launch_products_and_bytes():
    compute = 2 * CONV.macs / 10e12 * 1e3
    memory = 2 * (2 * 64**3 + 64 * 64 * 9) / 100e9 * 1e3
    assert Roofline(DEVICE, "fp16", IDEAL).units_ms([CONV]) == [pytest.approx(compute + memory)]
    slower = Efficiency(compute=0.5, memory=0.25, launch_ms=0.01, factor=1.5, source="")
    assert Roofline(DEVICE, "fp16", slower).units_ms([CONV]) == [pytest.approx(0.01 + 2 * compute + 4 * memory)]


def test_a_depthwise_convolution_waits_for_memory_only():
    assert Roofline(DEVICE, "fp16", IDEAL).units_ms([DEPTHWISE]) == [pytest.approx(2 * (2 * 64**3 + 576) / 1e8)]


def test_int8_halves_both_and_is_less_sure():
    fp16, int8 = (Roofline(DEVICE, precision, IDEAL).network([CONV]) for precision in ("fp16", "int8"))
    assert int8.latency_ms == pytest.approx(fp16.latency_ms / 2)
    assert int8.high / int8.latency_ms == pytest.approx((fp16.high / fp16.latency_ms) ** 2)
    assert "no published int8 figure was fitted" in int8.note


@pytest.mark.parametrize("target", [target for target in TARGETS.values() if target.fp16_tflops], ids=lambda t: t.name)
def test_every_target_with_peaks_is_predicted_and_called_rough(target):
    found = Roofline(target, "fp16").network([CONV] * 20)
    assert 0 < found.low < found.latency_ms < found.high
    assert found.source == "roofline"
    assert found.note.startswith("Rough")
    assert target.title in found.device


def test_a_faster_mode_of_the_same_board_is_faster():
    times = [
        Roofline(find_target(name), "fp16").network([CONV]).latency_ms
        for name in ("orin-nano-8gb", "orin-nano-8gb-super")
    ]
    assert times[0] > times[1]


@pytest.mark.parametrize(("name", "precision"), [("cpu", "fp16"), ("thor", "fp16"), ("orin-nano-8gb", "int16")])
def test_what_nobody_published_is_not_predicted(name, precision):
    with pytest.raises(ConfigError, match="Nothing is published"):
        Roofline(find_target(name), precision)


def test_a_factor_is_the_same_both_ways():
    assert compare(3.0, 2.0) == compare(2.0, 3.0) == pytest.approx(1.5)
