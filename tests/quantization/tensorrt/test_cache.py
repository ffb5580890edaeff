import struct

import numpy as np
import pytest

from jetseg.errors import CalibrationError
from jetseg.quantization.tensorrt.cache import missing_names, parse_cache, render_cache

HEADER = "TRT-100300-EntropyCalibration2\n"


@pytest.mark.parametrize(
    ("version", "number"),
    [("10.3", 100300), ("10.3.0", 100300), ("10.16.1", 101601), ("10.16.1.11", 101601), ("8.5.2", 8502)],
)
def test_the_header_names_the_version(version, number):
    text = render_cache({}, version)
    assert text == f"TRT-{number}-EntropyCalibration2\n"
    parsed = parse_cache(text)
    assert parsed.version.startswith(".".join(version.split(".")[:3]))
    assert parsed.algorithm == "EntropyCalibration2"


def test_a_scale_is_the_big_endian_bits_of_amax_over_127():
    (line,) = render_cache({"a": 3.0}, "10.3").splitlines()[1:]
    assert line == f"a: {struct.pack('>f', 3.0 / 127).hex()}"


def test_round_trip_is_exact_in_float32():
    rng = np.random.default_rng(0)
    amax = {f"scope/{i}:out": float(v) for i, v in enumerate(10.0 ** rng.uniform(-35, 38, 2000))}
    text = render_cache(amax, "10.13.3")
    parsed = parse_cache(text)
    assert list(parsed.amax) == list(amax)
    scales = [np.float32(value / 127) for value in parsed.amax.values()]
    assert scales == [np.float32(value / 127) for value in amax.values()]
    assert render_cache(parsed.amax, parsed.version) == text


@pytest.mark.parametrize("amax", [0.0, 1e-44])
def test_a_tensor_that_is_always_zero_has_no_zero_scale(amax):
    assert render_cache({"dead": amax}, "10.3").splitlines()[1] == "dead: 3f800000"


@pytest.mark.parametrize("version", ["11.0", "11.4.0.106", "12.1"])
def test_a_version_without_calibrators_is_refused(version):
    with pytest.raises(CalibrationError, match=r"no calibrators.*Q/DQ network"):
        render_cache({"a": 1.0}, version)


@pytest.mark.parametrize("version", ["", "10", "ten", "10.3-rc", "10.3.x"])
def test_a_malformed_version_is_refused(version):
    with pytest.raises(CalibrationError, match="not a TensorRT version"):
        render_cache({"a": 1.0}, version)


@pytest.mark.parametrize("amax", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_range_that_has_no_scale_is_refused(amax):
    with pytest.raises(CalibrationError, match="tensor odd"):
        render_cache({"odd": amax}, "10.3")


@pytest.mark.parametrize("name", ["", "a\nb", "a\n"])
def test_a_name_that_does_not_fit_on_a_line_is_refused(name):
    with pytest.raises(CalibrationError, match="does not fit"):
        render_cache({name: 1.0}, "10.3")


def test_foreign_caches_are_read():
    parsed = parse_cache("TRT-8502-MinMaxCalibration\r\nzero: 0\r\n(Unnamed Layer* 4) [X]: y: 40000000\r\n\r\n")
    assert (parsed.version, parsed.algorithm) == ("8.5.2", "MinMaxCalibration")
    assert parsed.amax == {"zero": 0.0, "(Unnamed Layer* 4) [X]: y": 254.0}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("image: 3f800000\n", 1),
        (HEADER + "a: 3f800000\nb 3f800000\n", 3),
        (HEADER + ": 3f800000\n", 2),
        (HEADER + "a: 3f80000g\n", 2),
        (HEADER + "a: 0x3f8000\n", 2),
        (HEADER + "a: 3f8000000\n", 2),
        (HEADER + "a:\n", 2),
        (HEADER + "a: bf800000\n", 2),  # -1
        (HEADER + "a: 7f800000\n", 2),  # infinity
        (HEADER + "a: 7fc00000\n", 2),  # not a number
        (HEADER + "a: 3f800000\n\na: 3f800000\n", 4),
    ],
)
def test_a_malformed_line_is_named(text, line):
    with pytest.raises(CalibrationError, match=f"^Line {line} "):
        parse_cache(text)


def test_missing_tensors_are_listed_once_and_in_order():
    cache = parse_cache(HEADER + "a: 3f800000\n")
    assert missing_names(cache.amax, ["c", "a", "b", "c"]) == ("c", "b")
    assert missing_names(cache.amax, ["a"]) == ()
