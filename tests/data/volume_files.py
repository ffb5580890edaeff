"""Volumes that tests write: NIfTI files in any orientation, DICOM series, and a network that thresholds them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pydicom
from onnx import TensorProto, helper, numpy_helper
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from jetseg.input_spec import FrameWindow, InputSpec, SliceGrid, SliceSpec
from jetseg.manifest import Manifest
from jetseg.network import save_manifest

WINDOW = FrameWindow(low=0, high=255)


def scene(shape: tuple[int, int, int] = (10, 8, 6), seed: int = 0) -> np.ndarray:
    """Drawn values in right, anterior, superior order; no symmetry hides a turned axis."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.int16)


def write_nifti(
    path: Path, ras: np.ndarray, codes: str = "RAS", spacing: tuple[float, float, float] = (2.0, 3.0, 5.0)
) -> Path:
    """Writes a volume that is given in RAS order so that its file's axes go where `codes` say."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-20, 7, 40)
    image = nib.Nifti1Image(ras, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(codes)))
    image = image.as_reoriented(turn)
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    assert nib.aff2axcodes(nib.load(path).affine) == tuple(codes)
    return path


def write_dicom(folder: Path, ras: np.ndarray, spacing: tuple[float, float, float] = (2.0, 3.0, 5.0), **more) -> Path:
    """Writes a volume in RAS order as an axial series, in files whose names do not tell their order."""
    folder.mkdir(parents=True, exist_ok=True)
    series, names = generate_uid(), np.random.default_rng(3).permutation(ras.shape[2])
    for number in range(ras.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        path = folder / f"{names[number]:03}.dcm"
        file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.Modality = series, "CT"
        file.Rows, file.Columns = ras.shape[1], ras.shape[0]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.PixelSpacing = [spacing[1], spacing[0]]
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        right, front = 20 - (ras.shape[0] - 1) * spacing[0], -7 - (ras.shape[1] - 1) * spacing[1]
        file.ImagePositionPatient = [right, front, 40 + number * spacing[2]]
        file.RescaleSlope, file.RescaleIntercept = 1, -1024
        file.PixelData = (ras[::-1, ::-1, number].T + 1024).astype(np.uint16).tobytes()
        for name, value in more.items():
            setattr(file, name, value(number) if callable(value) else value)
        pydicom.dcmwrite(path, file)
    return folder


def write_threshold_network(folder: Path, height: int, width: int, slices: SliceSpec | None = None) -> Path:
    """A network that finds class 1 where a slice is above half of the window, and class 2 where the one before is."""
    weights = np.zeros((3, 3, 1, 1), np.float32)
    weights[1, 1], weights[2, 0] = 1, 1  # planes in the order before, itself, after
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["logits"], "head")]
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, height, width])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([127.5, 0, -0.25], np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / "threshold.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    spec = InputSpec(height=height, width=width, color="bgr", frames=WINDOW, slices=slices)
    save_manifest(path, Manifest(classes=("background", "bright", "bright before"), input=spec))
    return path


def grid(spacing_mm: float, height: int, width: int) -> SliceGrid:
    """Pixels to lay slices on."""
    return SliceGrid(spacing_mm=spacing_mm, height=height, width=width)
