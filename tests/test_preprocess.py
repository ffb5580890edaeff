import cv2
import numpy as np
import pytest

from jetseg.errors import DataError, ManifestError
from jetseg.input_spec import FrameWindow, InputSpec
from jetseg.preprocess import Preprocessor, resize_frame, window_frame

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(height: int = 9, width: int = 14) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_every_pixel_value_is_normalized_as_the_contract_says(color):
    frame = noise()
    spec = InputSpec(height=9, width=14, color=color, scale=1 / 255, mean=MEAN, std=STD)
    ordered = frame[..., ::-1] if color == "rgb" else frame
    expected = ((ordered / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)[None]
    result = Preprocessor(spec)(frame)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_gray_is_luminance():
    frame = noise()
    spec = InputSpec(height=9, width=14, color="gray", mean=(10.0,), std=(2.0,))
    luminance = frame @ np.array([0.114, 0.587, 0.299])
    result = Preprocessor(spec)(frame)
    assert result.shape == (1, 1, 9, 14)
    assert np.abs(result[0, 0] * 2 + 10 - luminance).max() <= 0.51


def test_an_image_input_keeps_bytes_and_orders_channels():
    frame = noise()
    for color, expected in (("bgr", frame), ("rgb", frame[..., ::-1])):
        result = Preprocessor(InputSpec(kind="frame", height=9, width=14, color=color))(frame)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected[None])


def test_each_call_gives_an_array_of_its_own():
    preprocess = Preprocessor(InputSpec(height=9, width=14))
    first = preprocess(noise())
    kept = first.copy()
    preprocess(255 - noise())
    np.testing.assert_array_equal(first, kept)


def test_shrinking_averages_and_growing_interpolates():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    np.testing.assert_array_equal(resize_frame(stripes, 4, 4), np.full((4, 4, 3), 100, np.uint8))
    grown = cv2.resize(noise(), (28, 18), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize_frame(noise(), 18, 28), grown)


@pytest.mark.parametrize(
    ("before", "after"),
    [((90, 160), (30, 40)), ((90, 160), (30, 37)), ((90, 160), (45, 80)), ((96, 96), (12, 6)), ((90, 120), (31, 40))],
)
def test_shrinking_gives_the_mean_of_an_area_to_one_gray_level(before, after):
    frames = [noise(*before), np.full((*before, 3), 255, np.uint8), np.zeros((*before, 3), np.uint8)]
    for frame in frames:
        found = resize_frame(frame, *after)
        expected = cv2.resize(frame, after[::-1], interpolation=cv2.INTER_AREA)
        assert found.shape == (*after, 3)
        assert found.dtype == np.uint8
        difference = found.astype(int) - expected
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.05, "not brighter and not darker on the whole"


def test_a_frame_of_the_right_size_is_not_touched():
    frame = noise()
    assert resize_frame(frame, 9, 14) is frame


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_channels_come_last_where_the_network_has_them_there(color):
    values = {"mean": (7.0,), "std": (3.0,)} if color == "gray" else {"mean": (7.0, 8.0, 9.0), "std": (3.0, 4.0, 5.0)}
    spec = {"height": 9, "width": 14, "color": color, **values}
    expected = Preprocessor(InputSpec(**spec))(noise())
    found = Preprocessor(InputSpec(**spec, layout="nhwc"))(noise())
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.moveaxis(expected, 1, 3))


def test_numbers_that_float32_does_not_hold_are_refused():
    spec = InputSpec(height=2, width=2, std=(1e-45, 1.0, 1.0))
    with pytest.raises(ManifestError, match=r"std \(1e-45, 1\.0, 1\.0\) turn pixels into numbers that float32"):
        Preprocessor(spec)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_deep_frames_are_windowed_or_refused(dtype):
    values = np.array([[100, 101, 200], [355, 356, 30000]]).astype(dtype)
    spec = InputSpec(height=2, width=3, color="gray", mean=(0.0,), std=(1.0,))
    with pytest.raises(DataError, match=r"The frame holds .* values, here 100 to 30000"):
        Preprocessor(spec)(values)
    windowed = Preprocessor(spec.model_copy(update={"frames": FrameWindow(low=100, high=355)}))(values)
    assert windowed.tolist() == [[[[0, 1, 100], [255, 255, 255]]]]


def test_frames_with_other_channels_are_refused():
    with pytest.raises(DataError, match=r"The frame has the shape \(2, 2, 5\)"):
        window_frame(np.zeros((2, 2, 5), np.uint16), FrameWindow(low=0, high=1), "The frame")
