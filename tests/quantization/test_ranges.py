import json

import pytest
from pydantic import ValidationError
from small_network import small_manifest, write_small_network

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


def test_one_count_of_frames_is_enough():
    with pytest.raises(ValidationError, match="refit_frames"):
        Trial.model_validate({**TRIAL, "corrections": [], "refit_frames": 8, "reconstruction_frames": 4})


def test_settings_take_former_names_of_corrections():
    assert CalibrateConfig(corrections=("pixels", "refit")).allowed() == ("input-folding", "reconstruct")
    with pytest.raises(ValidationError, match="input-folding"):
        CalibrateConfig(corrections=("sharpen",))
