import json

import cv2
import numpy as np
import pytest
from small_network import write_dataset, write_small_network

from jetseg.config import changed
from jetseg.data.dataset import Dataset
from jetseg.errors import CalibrationError
from jetseg.network import Network, open_network
from jetseg.preprocess import Preprocessor
from jetseg.quantization import calibration
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.correct.judge import _Score
from jetseg.quantization.observe.coverage import coverage
from jetseg.quantization.ranges import open_ranges


def test_ranges_of_minmax_equal_those_of_the_frames(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    out = tmp_path / "small.ranges.json"
    network = open_network(model)
    calibrate(network, Dataset(data), CalibrateConfig(split="all", images=6, method="minmax"), out)
    preprocess = Preprocessor(network.manifest.input)
    images = [preprocess(cv2.imread(str(path))) for path in sorted((tmp_path / "data" / "images").iterdir())]
    ranges = open_ranges(out, network)
    image = ranges.tensors["image"]
    assert image.seen_low == pytest.approx(min(value.min() for value in images), rel=1e-6)
    assert image.seen_high == pytest.approx(max(value.max() for value in images), rel=1e-6)
    assert ranges.record.frames == 6
    assert "pooled" not in ranges.tensors  # shares the range of what it pools
    assert {"image", "r1", "c2", "r2", "both", "r3"} <= set(ranges.tensors)


def test_the_file_is_the_same_for_the_same_data_elsewhere(tmp_path):
    model = write_small_network(tmp_path)
    texts = []
    for place in ("one", "two"):
        out = tmp_path / place / "ranges.json"
        data = write_dataset(tmp_path / place)
        calibrate(open_network(model), Dataset(data), CalibrateConfig(split="all", images=4), out)
        texts.append(out.read_text())
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert len(texts[0].splitlines()) == len(found["tensors"]) + len(found) + 3


def test_a_stale_file_is_refused(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    out = tmp_path / "small.ranges.json"
    network = open_network(model)
    calibrate(network, Dataset(data), CalibrateConfig(split="all", images=2), out)
    with pytest.raises(CalibrationError, match="another network"):
        open_ranges(out, Network(model, network.manifest, "0" * 64))
    with pytest.raises(CalibrationError, match="another preprocessing"):
        other = network.manifest.changed(input=changed(network.manifest.input, color="bgr"))
        open_ranges(out, Network(model, other, network.sha256))
    out.write_text(out.read_text()[:200])
    with pytest.raises(CalibrationError, match="not a valid ranges file"):
        open_ranges(out, network)


def test_an_interrupted_run_leaves_the_earlier_file_whole(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    out = tmp_path / "small.ranges.json"
    network, config = open_network(model), CalibrateConfig(split="all", images=6)
    calibrate(network, Dataset(data), config, out)
    before = out.read_bytes()
    (tmp_path / "data" / "images" / "005.png").write_bytes(b"no picture")
    with pytest.raises(Exception, match="005.png"):
        calibrate(network, Dataset(data), config, out)
    assert out.read_bytes() == before
    assert np.all([path.suffix != ".part" for path in tmp_path.iterdir()])


@pytest.mark.parametrize("corrections", [("equalize",), ("reconstruct",), None])
def test_ranges_come_from_all_images_whichever_network_is_kept(tmp_path, monkeypatch, corrections):
    """Variants are compared after a glimpse at a few images; what is kept is looked at in all of them."""
    seen = []
    monkeypatch.setattr(calibration, "coverage", lambda amax: seen.append(amax) or coverage(amax))
    network, data = open_network(write_small_network(tmp_path)), Dataset(write_dataset(tmp_path / "data", frames=12))
    mean = _Score.mean
    for sign in (1, -1):  # what is best is kept, and then what is worst
        monkeypatch.setattr(_Score, "mean", lambda score, sign=sign: sign * mean(score))
        calibrate(network, data, CalibrateConfig(split="all", corrections=corrections), tmp_path / "r.json")
        ranges = open_ranges(tmp_path / "r.json", network)
        (amax,) = seen
        assert {len(values) for values in amax.values()} == {12}
        for name, values in amax.items():
            if name == "image.pixels":
                continue  # its range is known
            entry = ranges.tensors[name]
            assert max(-entry.seen_low, entry.seen_high) == pytest.approx(max(values), rel=1e-6)
        seen.clear()
