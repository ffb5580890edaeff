from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from small_network import write_dataset, write_small_network
from typer.testing import CliRunner
from volume_files import grid, scene, write_dicom, write_nifti, write_threshold_network

from jetseg.cli.main import app
from jetseg.data.dataset import match_input, open_split
from jetseg.engine.engine import open_engine
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import SliceSpec
from jetseg.workflows.predicting import predict


def _expected(ras: np.ndarray, axis: int) -> np.ndarray:
    """Class 1 where a voxel is bright, class 2 where the slice before is brighter; in RAS order."""
    before = np.concatenate([ras.take([0], axis), ras.take(range(ras.shape[axis] - 1), axis)], axis)
    if axis == 0:  # sagittal slices go to the left
        before = np.concatenate([ras[1:], ras[-1:]])
    scores = np.stack([np.full(ras.shape, 127.5), ras.astype(float), before - 0.25])
    return scores.argmax(0)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("axis", ["axial", "sagittal"])
def test_a_volume_comes_back_voxel_for_voxel(tmp_path, codes, axis):
    ras = scene()
    image = write_nifti(tmp_path / "in.nii.gz", ras, codes)
    size = (8, 10) if axis == "axial" else (6, 8)
    network = write_threshold_network(tmp_path / "net", *size, SliceSpec(axis=axis, neighbors=1))
    found = predict(network, data=f"nifti:{image}", out=tmp_path / "out.nii.gz", threads=1)

    theirs, ours = nib.load(image), nib.load(found.paths[0])
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)
    assert (ours.shape, ours.header.get_zooms()) == (theirs.shape, theirs.header.get_zooms())
    assert nib.aff2axcodes(ours.affine) == tuple(codes)
    canonical = np.asarray(nib.as_closest_canonical(ours).dataobj)
    np.testing.assert_array_equal(canonical, _expected(ras, 2 if axis == "axial" else 0))


def test_a_series_comes_back_as_its_nifti_twin_does(tmp_path):
    ras = scene()
    network = write_threshold_network(tmp_path / "net", 8, 10, SliceSpec(neighbors=1))
    series, image = write_dicom(tmp_path / "series", ras), write_nifti(tmp_path / "in.nii.gz", ras)
    predict(network, data=f"dicom:{series}", out=tmp_path / "a.nii", threads=1)
    predict(network, data=f"nifti:{image}", out=tmp_path / "b.nii", threads=1)

    one, other = (nib.as_closest_canonical(nib.load(tmp_path / name)) for name in ("a.nii", "b.nii"))
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
    assert nib.aff2axcodes(nib.load(tmp_path / "a.nii").affine) == ("L", "P", "S")


def test_a_volume_is_what_its_slices_are_run_singly(tmp_path):
    image = write_nifti(tmp_path / "in.nii.gz", scene((11, 9, 5)), "PIR", (2.0, 1.5, 4.0))
    network = write_threshold_network(tmp_path / "net", 16, 16, SliceSpec(grid=grid(2.0, 16, 16)))
    predict(network, data=f"nifti:{image}", out=tmp_path / "out.nii.gz", threads=1)

    whole = nib.as_closest_canonical(nib.load(tmp_path / "out.nii.gz"))
    with open_engine(network, threads=1) as engine:
        split = match_input(open_split(f"nifti:{image}", "all"), engine.manifest.input)
        for index in range(len(split)):
            single = split.restore(0, engine.segment(split[index].image_hwc_u8))
            np.testing.assert_array_equal(np.asarray(whole.dataobj)[::-1, ::-1, index].T, single)


def test_several_volumes_go_to_a_folder_and_nothing_is_written_over(tmp_path):
    for name in ("a", "b"):
        write_nifti(tmp_path / "scans" / f"{name}.nii.gz", scene(seed=ord(name)))
    network = write_threshold_network(tmp_path / "net", 8, 10)
    result = CliRunner().invoke(
        app,
        [
            "predict",
            str(network),
            "--data",
            f"nifti:{tmp_path / 'scans'}",
            "--out",
            str(tmp_path / "o"),
            "--overlay",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert [Path(path).name for path in printed["files"]] == ["a.nii.gz", "b.nii.gz"]
    assert printed["classes"]["1"] == "bright"
    assert cv2.imread(str(tmp_path / "o" / "b_0005.jpg")).shape == (8 * 51, 10 * 51, 3)

    before = (tmp_path / "scans" / "a.nii.gz").read_bytes()
    for out, message in (("scans", "must not be written over"), ("one.nii.gz", "there are 2 volumes")):
        with pytest.raises(ConfigError, match=message):
            predict(network, data=f"nifti:{tmp_path / 'scans'}", out=tmp_path / out, threads=1)
    assert (tmp_path / "scans" / "a.nii.gz").read_bytes() == before


def test_settings_of_data_and_network_must_agree(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", scene())
    network = write_threshold_network(tmp_path / "net", 8, 10)
    (tmp_path / "classes.yaml").write_text(
        "classes: [background, bright, bright before]\nframes: {low: 0, high: 255}\nslices: {neighbors: 1}\n"
        "volumes: [{image: a.nii.gz}]"
    )
    with pytest.raises(DataError, match=r"by \{'neighbors': 1\}, and the network's manifest says nothing"):
        predict(network, data=f"nifti:{tmp_path}", out=tmp_path / "o", threads=1)


def test_folders_of_images_and_videos(tmp_path):
    network, spec = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=3)
    images = tmp_path / "data" / "images"
    predict(network, data=images, out=tmp_path / "maps", overlay=True, threads=1)
    split = open_split(spec, "all")
    with open_engine(network, threads=1) as engine:
        for index in range(3):
            ids = cv2.imread(str(tmp_path / "maps" / f"{index:03}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(ids, engine.segment(split[index].image_hwc_u8))
    assert (tmp_path / "maps" / "002.jpg").is_file()
    with pytest.raises(ConfigError, match="holds the images that are read"):
        predict(network, data=images, out=images, threads=1)

    predict(network, data=spec, out=tmp_path / "drawn.mp4", threads=1)
    again = predict(network, data=tmp_path / "drawn.mp4", out=tmp_path / "again", threads=1)
    assert (again.frames, len(list((tmp_path / "again").iterdir()))) == (3, 3)
    with pytest.raises(ConfigError, match="must not be written over"):
        predict(network, data=tmp_path / "drawn.mp4", out=tmp_path / "drawn.mp4", threads=1)


def test_frames_of_the_same_name_are_not_written_over_each_other(tmp_path):
    network, spec = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=2)
    shutil.rmtree(tmp_path / "data" / "labels")
    for number, split in enumerate(("day", "night")):
        (tmp_path / "data" / "images" / split).mkdir()
        (tmp_path / "data" / "images" / f"{number:03}.png").rename(tmp_path / "data" / "images" / split / "a.png")
    with pytest.raises(DataError, match=r"would be written as a\.png"):
        predict(network, data=spec, split="day+night", out=tmp_path / "maps", threads=1)
