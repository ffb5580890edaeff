"""Opens whatever --source names."""

from __future__ import annotations

import re
from pathlib import Path

from jetseg.camera.capture import open_camera, open_url, open_video
from jetseg.camera.contract import Source
from jetseg.camera.feeds import DatasetSource, ImageSource, PacedSource
from jetseg.data.decode import IMAGE_SUFFIXES
from jetseg.data.specs import open_dataset
from jetseg.errors import ConfigError, DataError

SYNTHETIC = "synthetic"
SYNTHETIC_FRAMES_PER_SECOND = 30.0
_DATASET = re.compile(r"[a-z_]+:")


def open_source(source: str, *, split: str = "test", labels: bool | None = None, pace: float | None = None) -> Source:
    """Opens a source of frames.

    Args:
        source: A camera index or /dev/videoN, a URL, a video or image file, a folder of images, a dataset
            spec, or `synthetic`: an endless drive through a drawn world, paced like a camera.
        split: Of a dataset.
        labels: True asks for labels, False leaves them out, None takes them where the source has them.
        pace: Feed files or a dataset as a live camera of this many frames per second.

    Raises:
        ConfigError: Labels or a pace were asked of a source that can have none.
        DataError: The file, folder or dataset is missing, damaged or empty.
        DeviceError: The camera is absent or gives no frames.
    """
    opened = _open(source, split, labels=labels is not False)
    try:
        if labels and opened.classes is None:
            raise ConfigError(
                f"--labels was given, but {source} has no labels.", "Use a dataset spec, as in camvid:DIR."
            )
        if pace is not None and opened.live:
            raise ConfigError(f"--pace was given, but {source} is live and has a pace of its own.", "Leave --pace out.")
    except ConfigError:
        opened.close()
        raise
    if pace is None and source == SYNTHETIC:
        pace = SYNTHETIC_FRAMES_PER_SECOND
    return opened if pace is None else PacedSource(opened, pace)


def _open(source: str, split: str, *, labels: bool) -> Source:
    if device := re.fullmatch(r"(?:/dev/video)?(\d+)", source):
        return open_camera(int(device[1]))
    if "://" in source:
        return open_url(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return ImageSource(source, _images(path))
    if path.exists():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return ImageSource(source, [path]) if is_image else open_video(path)
    if source == SYNTHETIC or _DATASET.match(source):
        return DatasetSource(open_dataset(source, split), labels=labels, endless=source == SYNTHETIC)
    raise DataError(
        f"{source} does not exist.",
        "--source takes a camera index, a video file, a folder of images, a URL, or a dataset spec.",
    )


def _images(folder: Path) -> list[Path]:
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise DataError(
            f"The folder {folder} holds no images.",
            "Give a folder of image files, or, for a dataset with labels, its spec, as in "
            f"camvid:{folder} or folder:{folder}.",
        )
    return found
