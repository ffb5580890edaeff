"""Class maps of files: what a running camera loop is for cameras, this is for images, videos and volumes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jetseg.camera.contract import SourceFrame
from jetseg.camera.overlay import Overlay, outline
from jetseg.camera.sinks.video import open_video_sink
from jetseg.config import validate_config
from jetseg.data.contract import Split, VolumetricSplit
from jetseg.data.dataset import Dataset, match_input, open_dataset
from jetseg.data.decode import IMAGE_SUFFIXES
from jetseg.data.files import FileSplit, FramePair, image_files
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError, DataError, DeviceError
from jetseg.evaluation.config import PredictConfig
from jetseg.network import Network
from jetseg.postprocess import resize_class_map
from jetseg.preprocess import FrameU8
from jetseg.progress import ProgressCallback, report_progress, track
from jetseg.registry import DATASETS
from jetseg.storage import check_place, make_folder, storage_error, write_bytes
from jetseg.workflows.opening import enter_engine

_OPACITY = 0.5
_VOLUME_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class Prediction:
    """What was segmented.

    Attributes:
        frames: How many frames, or slices of volumes.
        paths: The files that were written; those of frames lie in one folder, which stands for them.
        classes: Name of each id that they hold, by id; the number after the last means void.
    """

    frames: int
    paths: tuple[Path, ...]
    classes: tuple[str, ...]


def predict(
    engine: Engine | Network | Path | str,
    *,
    data: Dataset | Path | str,
    out: Path | str,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Prediction:
    """Segments files and writes their class maps.

    Volumes become NIfTI files in the geometry of the input, voxel for voxel. Frames become 8-bit PNG files of class
    ids, of the frame's size and name. A video becomes another one with the classes drawn over it where `out` ends in
    .mp4, else class maps as well.

    Args:
        engine: Engine, ONNX file or checkpoint: open, or by its path, or the name of one that comes with jetseg.
        data: A folder of images, an image, a video, or the spec of a dataset, as in "nifti:ct.nii.gz".
        out: A folder; for one volume also a file that ends in .nii.gz or .nii, for frames a video that ends in .mp4.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.evaluation.config.PredictConfig`: `split="all"`, `overlay=False`, `threads=None`.

    Raises:
        ConfigError: Settings are wrong, or `out` would be written over what is read.
        DataError: The data are damaged, need a window that the network's manifest does not have, or two frames have
            the same name.
        StorageError: A file could not be written.

    >>> found = predict("camvid-light", data="synthetic:2", split="val", out="maps", threads=1)
    >>> found.frames, sorted(path.name for path in found.paths[0].iterdir())
    (2, ['drive400000_000000.png', 'drive400000_000025.png'])
    """
    config, target = validate_config(PredictConfig, settings), Path(out)
    with report_progress(progress), ExitStack() as opened:
        network = enter_engine(opened, engine, threads=config.threads)
        split = match_input(_open(data, config.split), network.manifest.input)
        if len(split) == 0:
            raise DataError(f"{split.spec} ({split.split}) has no frames.", "Choose another split.")
        if isinstance(split, VolumetricSplit):
            paths = _predict_volumes(network, split, target, config)
        elif target.suffix.lower() == ".mp4":
            paths = _draw_video(network, split, target)
        else:
            paths = _predict_frames(network, split, target, config)
    return Prediction(len(split), paths, network.manifest.classes)


def _open(data: Dataset | Path | str, split: str) -> Split:
    """Opens what a user names: a spec, or files as they are."""
    if isinstance(data, Dataset):
        return data.split(split)
    path = Path(data).expanduser()
    if str(data).partition(":")[0] in DATASETS or not path.exists():
        return open_dataset(str(data)).split(split)
    if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
        return open_dataset(f"video:{path}").split(split)
    found = image_files(path) if path.is_dir() else {path.stem: path}
    if not found:
        raise DataError(
            f"The folder {path} holds no images.", "Give a folder of images, or a spec, as in nifti:DIR or dicom:DIR."
        )
    return FileSplit(str(path), split, (), None, [FramePair(stem, image, None) for stem, image in found.items()])


def _predict_volumes(engine: Engine, split: VolumetricSplit, out: Path, config: PredictConfig) -> tuple[Path, ...]:
    single = out.name.lower().endswith((".nii", _VOLUME_SUFFIX))
    if single and len(split.cases) > 1:
        raise ConfigError(f"{out} is one file, and there are {len(split.cases)} volumes.", "Give a folder as `out`.")
    paths = [out] if single else [out / f"{case.name}{_VOLUME_SUFFIX}" for case in split.cases]
    if len({path.name.lower() for path in paths}) < len(paths):
        raise ConfigError("Two volumes have the same name.", "Rename one, or predict them one after the other.")
    for path in paths:
        check_place(path)
    slices: list[FrameU8] = []
    for index in track(range(len(split)), "Segmenting slices"):
        sample = split[index]
        case, _ = split.place_of(index)
        found = engine.segment(sample.image_hwc_u8)
        slices.append(split.restore(case, found))
        if config.overlay:
            _write_picture(
                paths[case].parent / f"{sample.name}.jpg", outline(sample.image_hwc_u8, found, engine.manifest)
            )
        if len(slices) == split.cases[case].count:
            split.save(case, np.stack(slices), paths[case])
            slices = []
    return tuple(paths)


def _predict_frames(engine: Engine, split: Split, out: Path, config: PredictConfig) -> tuple[Path, ...]:
    _make_folder(out, split)
    drawing, names = Overlay(engine.manifest, _OPACITY), set[str]()
    for index in track(range(len(split)), "Segmenting frames"):
        sample = split[index]
        name = sample.name.replace("/", "_")
        if name in names:
            raise DataError(
                f"Two frames of {split.spec} ({split.split}) would be written as {name}.png.",
                "Predict the splits one after the other, or rename one of the frames.",
            )
        names.add(name)
        found = engine.segment(sample.image_hwc_u8)
        _write_picture(out / f"{name}.png", resize_class_map(found, *sample.image_hwc_u8.shape[:2]))
        if config.overlay:
            _write_picture(out / f"{name}.jpg", drawing.draw(sample.image_hwc_u8, found))
    return (out,)


def _draw_video(engine: Engine, split: Split, out: Path) -> tuple[Path, ...]:
    check_place(out)
    if split.spec.startswith("video:") and Path(split.spec.partition(":")[2]).resolve() == out.resolve():
        raise ConfigError(f"{out} is read, and must not be written over.", "Give another place as `out`.")
    drawing = Overlay(engine.manifest, _OPACITY, legend=True)
    with open_video_sink(out) as sink:
        for index in track(range(len(split)), "Segmenting frames"):
            sample = split[index]
            picture = drawing.draw(sample.image_hwc_u8, engine.segment(sample.image_hwc_u8))
            sink.add(picture, SourceFrame(index, sample.name, 0.0, sample.image_hwc_u8, shown_at=sample.shown_at))
    return (out,)


def _make_folder(out: Path, split: Split) -> None:
    if isinstance(split, FileSplit) and out.resolve() in {pair.image.parent.resolve() for pair in split.pairs}:
        raise ConfigError(f"{out} holds the images that are read.", "Give another folder as `out`.")
    if out.is_file():
        raise ConfigError(f"{out} is a file, and a folder is to be written.", "Give a folder as `out`.")
    try:
        make_folder(out)
    except OSError as error:
        raise storage_error(out, error) from error


def _write_picture(path: Path, picture: FrameU8) -> None:
    good, content = cv2.imencode(path.suffix, np.ascontiguousarray(picture))
    if not good:
        raise DeviceError(f"OpenCV could not encode {path.name}.", "Use a build of OpenCV with PNG and JPEG.")
    write_bytes(path, content.tobytes())
