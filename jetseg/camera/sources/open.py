"""Opens whatever --source names."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from jetseg.camera.contract import Source
from jetseg.camera.sources.capture import connect_camera, connect_csi, connect_stream, public_name
from jetseg.camera.sources.connection import Connect, connect_within
from jetseg.camera.sources.feeds import DatasetSource, ImageSource, PacedSource
from jetseg.camera.sources.gstreamer import is_csi, parse_csi
from jetseg.camera.sources.live import LiveLimits, LiveSource
from jetseg.camera.sources.video_file import open_video
from jetseg.data.dataset import open_split
from jetseg.data.decode import IMAGE_SUFFIXES
from jetseg.errors import ConfigError, DataError
from jetseg.monitor.events import EventLog

SYNTHETIC = "synthetic"
SYNTHETIC_FRAMES_PER_SECOND = 30.0
_DATASET = re.compile(r"[a-z_]+:")


def open_source(
    source: str,
    *,
    split: str = "test",
    labels: bool | None = None,
    pace: float | None = None,
    events: EventLog | None = None,
    limits: LiveLimits | None = None,
    wait: bool = False,
) -> Source:
    """Opens a source of frames.

    Args:
        source: A camera index or /dev/videoN, `csi:N`, a URL, a video or image file, a folder of images, a
            dataset spec, or `synthetic`: an endless drive through a drawn world, paced like a camera.
        split: Of a dataset.
        labels: True asks for labels, False leaves them out, None takes them where the source has them.
        pace: Feed files or a dataset as a live camera of this many frames per second.
        events: Where a camera that is lost, stalled or back is reported.
        limits: How long a camera may take.
        wait: A camera that is not there yet is awaited instead of being an error.

    Raises:
        ConfigError: Labels or a pace were asked of a source that can have none.
        DataError: The file, folder or dataset is missing, damaged or empty.
        DeviceError: The camera is absent or gives no frames.
    """
    camera = _camera(source)
    if camera is None:
        opened = _open(source, split, labels=labels is not False)
    else:
        opened = _open_camera(source, *camera, events or EventLog(), limits or LiveLimits(), wait=wait)
    try:
        if labels and opened.classes is None:
            raise ConfigError(
                f"--labels was given, but {opened.name} has no labels.", "Use a dataset spec, as in camvid:DIR."
            )
        if pace is not None and opened.live:
            raise ConfigError(
                f"--pace was given, but {opened.name} is live and has a pace of its own.", "Leave --pace out."
            )
    except ConfigError:
        opened.close()
        raise
    if pace is None and source == SYNTHETIC:
        pace = SYNTHETIC_FRAMES_PER_SECOND
    return opened if pace is None else PacedSource(opened, pace)


def _camera(source: str) -> tuple[str, Connect] | None:
    """Returns the name of a camera or stream, and what connects to it; None for everything else."""
    if device := re.fullmatch(r"(?:/dev/video)?(\d+)", source):
        return device[1], partial(connect_camera, int(device[1]))
    if is_csi(source):
        return source, partial(connect_csi, parse_csi(source))
    if "://" in source:
        return public_name(source), partial(connect_stream, source)
    return None


def _open_camera(
    source: str, name: str, connect: Connect, events: EventLog, limits: LiveLimits, *, wait: bool
) -> Source:
    if wait:
        return LiveSource(name, connect, events, limits)
    connection = connect_within(limits.hung, connect, name)
    if connection.has_end and source.startswith("http"):
        connection.close()
        return open_video(source)
    return LiveSource(name, connect, events, limits, connection=connection)


def _open(source: str, split: str, *, labels: bool) -> Source:
    path = Path(source).expanduser()
    if path.is_dir():
        return ImageSource(source, _images(path))
    if path.exists():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return ImageSource(source, [path]) if is_image else open_video(path)
    if source == SYNTHETIC or _DATASET.match(source):
        return DatasetSource(open_split(source, split), labels=labels, endless=source == SYNTHETIC)
    raise DataError(
        f"{source} does not exist.",
        "--source takes a camera index, csi:N, a video file, a folder of images, a URL, or a dataset spec.",
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
