import json
import re

import pytest
from pydantic import ValidationError
from small_network import small_manifest, write_small_network

from jetseg.errors import CalibrationError
from jetseg.network import open_network
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.ranges import RangesRecord, TensorRange, Trial, open_ranges, save_ranges

TRIAL = {"target": "tensorrt", "agreement": 99.5}


def test_files_with_former_names_load_and_are_saved_with_the_present_ones(tmp_path):
    network, spec = open_network(write_small_network(tmp_path)), small_manifest().input
    entry = TensorRange(low=-1, high=1, amax=1, seen_low=-1, seen_high=1)
    ranges = RangesRecord(
        method="mse",
        frames=1,
        model_sha256=network.sha256,
        data_sha256="1" * 64,
        data="d",
        preprocessing=spec,
        trials=(Trial(corrections=("input-folding", "shift", "reconstruct"), reconstruction_frames=8, **TRIAL),),
        tensors={"x": entry},
    )
    path = tmp_path / "r.json"
    save_ranges(path, network, ranges)
    present = path.read_text()
    former = present.replace("reconstruction_frames", "refit_frames").replace('"reconstruct"', '"refit"')
    former = former.replace("input-folding", "pixels")
    assert json.loads(former)["trials"][0]["corrections"] == ["pixels", "shift", "refit"]
    path.write_text(former)
    found = open_ranges(path, network).record
    assert found == ranges
    save_ranges(path, network, found)
    assert path.read_text() == present


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('"amax": -1', r"tensors\.x\.amax: .*greater than or equal to 0"),
        ('"low": 2', r"tensors\.x: .*low \(2\) is above high \(1\)"),
        ('"seen_low": 2', r"tensors\.x: .*seen_low \(2\) is above seen_high \(1\)"),
        ('"amax": NaN', r"tensors\.x\.amax: .*finite"),
        ('"high": Infinity', r"tensors\.x\.high: .*finite"),
        ('"low": "-inf"', r"tensors\.x\.low: .*finite"),
        ('"amax": 1e39', r"tensors\.x\.amax: .*less than or equal"),
        ('"high": null', r"tensors\.x\.high: .*valid number"),
    ],
)
def test_ranges_that_no_tensor_has_are_refused_with_its_name(tmp_path, written, message):
    network = open_network(write_small_network(tmp_path))
    entry = TensorRange(low=-1, high=1, amax=1, seen_low=-1, seen_high=1)
    record = RangesRecord(
        method="minmax",
        frames=1,
        model_sha256=network.sha256,
        data_sha256="1" * 64,
        data="d",
        preprocessing=network.manifest.input,
        tensors={"x": entry},
    )
    path = save_ranges(tmp_path / "r.json", network, record).path
    key = written.partition(":")[0]
    path.write_text(re.sub(rf"{key}: -?[\d.]+", written, path.read_text()))
    assert written in path.read_text()
    with pytest.raises(CalibrationError, match=message) as caught:
        open_ranges(path, network)
    assert caught.value.exit_code == 2


def test_one_count_of_frames_is_enough():
    with pytest.raises(ValidationError, match="refit_frames"):
        Trial.model_validate({**TRIAL, "corrections": [], "refit_frames": 8, "reconstruction_frames": 4})


def test_settings_take_former_names_of_corrections():
    assert CalibrateConfig(corrections=("pixels", "refit")).allowed() == ("input-folding", "reconstruct")
    with pytest.raises(ValidationError, match="input-folding"):
        CalibrateConfig(corrections=("sharpen",))
