from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_files import scene, write_dicom, write_nifti

from jetseg.data.dataset import Dataset, match_input, open_split
from jetseg.data.volumes.dicom_series import read_series
from jetseg.data.volumes.nifti_file import read_nifti, write_class_volume
from jetseg.data.volumes.volume import Planes, Volume
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import InputSpec


def _configure(folder: Path, text: str) -> str:
    (folder / "classes.yaml").write_text(text)
    return f"nifti:{folder}"


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_slices_are_the_same_whatever_the_order_of_the_file(tmp_path, codes):
    ras = scene()
    volume = read_nifti(write_nifti(tmp_path / "a.nii.gz", ras, codes))

    axial, coronal, sagittal = (
        Planes(volume.values.shape, volume.affine, axis) for axis in ("axial", "coronal", "sagittal")
    )
    np.testing.assert_array_equal(axial.cut(volume.values)[2], ras[::-1, ::-1, 2].T)
    np.testing.assert_array_equal(coronal.cut(volume.values)[-1], ras[::-1, 0, ::-1].T)
    np.testing.assert_array_equal(sagittal.cut(volume.values)[0], ras[-1, ::-1, ::-1].T)
    assert axial.spacing_mm == pytest.approx((5, 3, 2))
    assert sagittal.spacing_mm == pytest.approx((2, 5, 3))
    for planes in (axial, coronal, sagittal):
        np.testing.assert_array_equal(planes.join(planes.cut(volume.values)), volume.values)


def test_sixteen_bits_slope_and_units_are_kept(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 4095, -32768]]], np.int16), np.diag([0.001, 0.002, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(2.0, -1024.0)
    image.set_sform(image.affine, 1)
    path = tmp_path / "a.nii"
    raw = bytearray(image.to_bytes())
    raw[352:358] = np.array([0, 4095, -32768], "<i2").tobytes()  # nibabel would choose a slope of its own
    path.write_bytes(raw)

    volume = read_nifti(path)
    assert volume.values.ravel().tolist() == [-1024, 7166, -66560]
    assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx([1, 2, 3])


def test_a_dicom_series_is_the_same_volume(tmp_path):
    ras = scene()
    series, file = read_series(write_dicom(tmp_path / "s", ras)), read_nifti(write_nifti(tmp_path / "a.nii", ras))
    one, other = (Planes(volume.values.shape, volume.affine, "axial") for volume in (series, file))

    np.testing.assert_array_equal(one.cut(series.values), other.cut(file.values))
    np.testing.assert_allclose(one.slices_affine, other.slices_affine, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PixelSpacing": lambda n: [1, 1] if n == 2 else [3, 2]}, "different PixelSpacing"),
        ({"SeriesInstanceUID": lambda n: f"1.2.{n}"}, "different SeriesInstanceUID"),
        ({"ImagePositionPatient": lambda n: [0, 0, 5 * n + 3 * (n > 2)]}, "one is missing, or they are uneven"),
        ({"ImagePositionPatient": lambda n: [0, 0, 5 * max(n, 1)]}, "two slices at the same place"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "no plain gray slice"),
        ({"NumberOfFrames": 6}, "no plain gray slice"),
        ({"PixelData": b"\0\0"}, "cannot be read as DICOM"),
        ({"RescaleSlope": 0}, "does not hold what it states"),
        ({"Rows": 60000}, "cannot be read as DICOM"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "not at right angles"),
    ],
)
def test_series_that_cannot_be_honored_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_series(write_dicom(tmp_path / "s", scene(), **change))


def test_damaged_and_boastful_nifti_files_are_refused(tmp_path):
    good = write_nifti(tmp_path / "a.nii.gz", scene())
    raw = gzip.decompress(good.read_bytes())

    def edited(at: int, dtype: str, value: float) -> Path:
        content = bytearray(raw)
        content[at : at + np.dtype(dtype).itemsize] = np.array(value, dtype).tobytes()
        path = tmp_path / f"{at}_{value}.nii"
        path.write_bytes(content)
        return path

    for path, message in (
        (edited(42, "<i2", 32767), "header promises"),  # a longer first axis
        (edited(42, "<i2", -3), "states -3 x"),
        (edited(40, "<i2", 2), "axes and not three"),
        (edited(70, "<i2", 128), "not plain numbers"),  # RGB
        (edited(70, "<i2", 9999), "type of data is unknown"),
        (edited(108, "<f4", 1e30), "values begin at byte"),
        (edited(108, "<f4", float("nan")), "values begin at byte"),
        (edited(112, "<f4", 2.0), None),
        (edited(0, "<i4", 77), "does not begin as one"),
        (edited(344, "<i4", 0), "another file"),
    ):
        if message is None:
            assert read_nifti(path).values.max() > 255
            continue
        with pytest.raises(DataError, match=message):
            read_nifti(path)
    good.write_bytes(good.read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        read_nifti(good)
    content = bytearray(raw)
    content[252:256] = b"\0\0\0\0"  # neither qform nor sform
    (tmp_path / "b.nii").write_bytes(content)
    with pytest.raises(DataError, match="left and right cannot be told"):
        read_nifti(tmp_path / "b.nii")


def test_random_bytes_in_a_header_never_crash(tmp_path, trials):
    raw = write_nifti(tmp_path / "a.nii", scene()).read_bytes()
    series = next(write_dicom(tmp_path / "s", scene((4, 4, 1))).iterdir())
    whole = series.read_bytes()
    for random in trials(30):
        for path, source, begin, end in ((tmp_path / "b.nii", raw, 0, 348), (series, whole, 132, len(whole))):
            content = bytearray(source)
            for _ in range(random.randint(1, 4)):
                content[random.randrange(begin, end)] = random.randrange(256)
            path.write_bytes(content)
            with suppress(DataError):
                read_nifti(path) if path.suffix == ".nii" else read_series(series.parent)


def test_neighbors_window_and_grid_make_the_frame(tmp_path):
    ras = scene((4, 4, 3))
    write_nifti(tmp_path / "a.nii.gz", ras, "LAS", (3.0, 3.0, 5.0))
    split = open_split(
        _configure(
            tmp_path,
            "classes: [background, organ]\nframes: {level: 127.5, width: 255}\n"
            "slices: {neighbors: 1, grid: {spacing_mm: 3, height: 6, width: 8}}\nvolumes: [{image: a.nii.gz}]",
        ),
        "all",
    )
    frame = split[0].image_hwc_u8

    assert frame.shape == (6, 8, 3)
    inside = ras[::-1, ::-1].transpose(1, 0, 2)
    np.testing.assert_array_equal(frame[1:5, 2:6, 0], inside[..., 0])  # there is none before the first
    np.testing.assert_array_equal(frame[1:5, 2:6, 1], inside[..., 0])
    np.testing.assert_array_equal(frame[1:5, 2:6, 2], inside[..., 1])
    assert frame.sum() == frame[1:5, 2:6].sum()


def test_a_finer_scan_fills_the_same_frame(tmp_path):
    coarse = np.repeat(scene((4, 4, 1)), 3, 2)
    fine = coarse.repeat(2, 0).repeat(2, 1)
    write_nifti(tmp_path / "a.nii", coarse, spacing=(2.0, 2.0, 5.0))
    write_nifti(tmp_path / "b.nii", fine, spacing=(1.0, 1.0, 5.0))
    text = (
        "classes: [background, organ]\nframes: {low: 0, high: 255}\nslices: {grid: {spacing_mm: 2, height: 5, width: 5}}\n"
        "volumes: [{image: a.nii}, {image: b.nii, split: val}]"
    )
    spec = _configure(tmp_path, text)
    one, other = open_split(spec, "train"), open_split(spec, "val")

    np.testing.assert_array_equal(one[1].image_hwc_u8, other[1].image_hwc_u8)
    ids = np.arange(25, dtype=np.uint8).reshape(5, 5)
    np.testing.assert_array_equal(other.restore(0, ids), one.restore(0, ids).repeat(2, 0).repeat(2, 1))
    with pytest.raises(DataError, match=r"measure 8 x 8 mm; frames hold 6 x 10 mm"):
        open_split(_configure(tmp_path, text.replace("height: 5", "height: 3")), "train")


def test_labels_of_one_volume_and_of_a_file_per_organ_agree(tmp_path):
    values = np.array([0, 5, 7, 200], np.uint8)[scene((5, 4, 3)) % 4]
    write_nifti(tmp_path / "a.nii.gz", scene((5, 4, 3)))
    write_nifti(tmp_path / "all.nii.gz", values, "LPI")
    write_nifti(tmp_path / "masks" / "liver.nii.gz", (values == 5).astype(np.uint8), "PIR")
    write_nifti(tmp_path / "masks" / "tumor.nii.gz", (values == 7).astype(np.float32))
    begin = "classes: [background, liver, tumor]\nframes: {low: 0, high: 255}\n"
    codes = "label_values: {0: 0, 5: 1, 7: 2}\nother_values: 0\n"
    one = open_split(_configure(tmp_path, f"{begin}{codes}volumes: [{{image: a.nii.gz, labels: all.nii.gz}}]"), "train")
    ids = [one[index].label_hw_u8 for index in range(3)]
    masks = "{liver: masks/liver.nii.gz, tumor: masks/tumor.nii.gz}"
    other = open_split(_configure(tmp_path, f"{begin}volumes: [{{image: a.nii.gz, labels: {masks}}}]"), "train")

    np.testing.assert_array_equal(ids[1], ((values == 5) + 2 * (values == 7))[::-1, ::-1, 1].T)
    np.testing.assert_array_equal(ids, [other[index].label_hw_u8 for index in range(3)])
    strange = open_split(_configure(tmp_path, f"{begin}volumes: [{{image: a.nii.gz, labels: all.nii.gz}}]"), "train")
    with pytest.raises(DataError, match="holds the value 5, which is no class"):
        strange[0]
    write_nifti(tmp_path / "all.nii.gz", values, spacing=(2.0, 3.0, 5.2))
    moved = open_split(
        _configure(tmp_path, f"{begin}{codes}volumes: [{{image: a.nii.gz, labels: all.nii.gz}}]"), "train"
    )
    with pytest.raises(DataError, match="mm away from"):
        moved[0]


def test_ranges_are_held_out(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", scene())
    write_nifti(tmp_path / "b.nii.gz", scene())
    text = (
        "classes: [background, organ]\nframes: {low: 0, high: 255}\nvolumes:\n"
        "  - {image: a.nii.gz, slices: {val: [[1, 2]], test: [[4, 4]]}}\n  - {image: b.nii.gz, split: test}"
    )
    dataset = Dataset(_configure(tmp_path, text))

    def names(split: str) -> list[str]:
        return [dataset.split(split)[index].name for index in range(len(dataset.split(split)))]

    assert names("val") == ["a_0001", "a_0002"]
    assert names("test") == ["a_0004", *(f"b_{n:04}" for n in range(6))]
    assert [case.name for case in dataset.split("train").cases] == ["a_0-0", "a_3-3", "a_5-5"]
    assert len(dataset.split("train+val")) == 5
    coronal = InputSpec.model_validate(
        {"height": 8, "width": 10, "slices": {"axis": "coronal"}, "frames": {"low": 0, "high": 255}}
    )
    with pytest.raises(DataError, match="holds out axial slices"):
        match_input(dataset.split("val"), coronal)
    with pytest.raises(DataError, match="0 to 5, and classes.yaml names 9"):
        open_split(_configure(tmp_path, text.replace("[4, 4]", "[4, 9]")), "test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("volumes: [{image: ../a.nii.gz}]", "must lie in the dataset's folder"),
        ("volumes: [{image: /a.nii.gz}]", "must lie in the dataset's folder"),
        ("volumes: [{image: a, slices: {val: [[3, 1]]}}]", "ends before it begins"),
        ("volumes: [{image: a, slices: {val: [[0, 3]], test: [[3, 4]]}}]", "3 is in two ranges"),
        ("volumes: [{image: a, labels: {lung: b}}]", "there is no class lung"),
        ("volumes: [{image: a}, {image: a}]", "listed twice"),
        ("volumes: [{image: a}]\nlabel_values: {5: 3}", "neither a class id nor ignore_index"),
        ("volumes: [{image: a}]\nframes: {level: 40, width: 0}", "must be below high"),
    ],
)
def test_wrong_settings_are_named(tmp_path, line, message):
    with pytest.raises(ConfigError, match=message):
        open_split(_configure(tmp_path, f"classes: [background, organ]\n{line}"), "train")


def test_without_a_window_values_are_refused(tmp_path):
    split = open_split(f"nifti:{write_nifti(tmp_path / 'a.nii.gz', scene())}", "all")
    with pytest.raises(DataError, match="of which a network sees 256 levels"):
        split[0]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_what_is_written_lies_where_the_image_lies(tmp_path, codes):
    path = write_nifti(tmp_path / "a.nii.gz", scene(), codes)
    image = read_nifti(path)
    ids = np.random.default_rng(1).integers(0, 4, image.values.shape).astype(np.uint8)
    write_class_volume(tmp_path / "out.nii.gz", ids, image)

    theirs, ours = nib.load(path), nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(ours.dataobj), ids)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)
    assert ours.header.get_zooms() == theirs.header.get_zooms()
    assert nib.aff2axcodes(ours.affine) == tuple(codes)
    assert (ours.get_data_dtype(), ours.header.get_xyzt_units()[0]) == (np.uint8, "mm")


def test_tilted_axes_are_refused():
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(DataError, match="tilted gantry"):
        Volume("a", np.zeros((2, 2, 2)), affine)


@pytest.mark.slow
def test_the_real_series_and_its_labels_lie_in_one_place(shared_dir):
    folder = shared_dir / "data" / "ct_organs"
    series, labels = read_series(folder / "dicom"), read_nifti(folder / "dicom_organs.nii.gz")
    values, ids = (Planes(v.values.shape, v.affine, "axial").cut(v.values) for v in (series, labels))

    assert values.shape == ids.shape == (20, 512, 512)
    assert (values.min(), values.dtype) == (-1024, np.int16)
    assert values[ids == 52].mean() > values[ids == 5].mean() > 80  # contrast in the aorta; the liver


def test_drawn_volumes_have_exact_labels_and_can_be_written():
    split = open_split("phantom:2", "test")
    assert (len(split), split.classes, split.scoring.lesions) == (48, ("background", "liver", "tumor"), ("tumor",))
    values, ids = split.cases[0].part.volume().values, split.labels_of(0).transpose(2, 1, 0)
    for number, units in ((1, 60), (2, 15)):
        inside = values[ids == number]
        assert abs(inside.mean() - units) < 4 * 25 / np.sqrt(len(inside))
        assert inside.std() == pytest.approx(25, rel=0.1)
    assert split[10].image_hwc_u8.tobytes() == open_split("phantom:2", "test")[10].image_hwc_u8.tobytes()
    assert split[10].image_hwc_u8.tobytes() != open_split("phantom:2", "val")[10].image_hwc_u8.tobytes()
    with pytest.raises(ConfigError, match="not a number of volumes"):
        open_split("phantom:many", "test")
