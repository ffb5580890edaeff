"""Opens the source that a user names: a camera, a stream, files, or NAME:PLACE of a registered kind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from jetseg.address import SourceAddress
from jetseg.camera.config import LiveLimits
from jetseg.camera.contract import Source, SourceContext, SourceKind
from jetseg.camera.sources.camera import camera_index, open_camera
from jetseg.camera.sources.concealed import ConcealedSource
from jetseg.camera.sources.dataset import DatasetSource
from jetseg.camera.sources.images import is_image, open_images
from jetseg.camera.sources.paced import PacedSource
from jetseg.camera.sources.stream import open_stream
from jetseg.camera.sources.video_file import open_video
from jetseg.data.dataset import known_forms, match_slices, match_window, open_split
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.monitor.events import EventLog
from jetseg.registry import DATASETS, SOURCES

_LOG = logging.getLogger(__name__)


def open_source(
    source: SourceAddress | str,
    *,
    split: str = "test",
    labels: bool | None = None,
    pace: float | None = None,
    events: EventLog | None = None,
    limits: LiveLimits | None = None,
    wait: bool = False,
    window: FrameWindow | None = None,
    slices: SliceSpec | None = None,
    classes: Sequence[str] | None = None,
) -> Source:
    """Opens a source of frames.

    Args:
        source: A camera index or /dev/videoN, a URL, a video or image file, a folder of images, a dataset spec, or
            NAME:PLACE with a name of `jetseg.registry.SOURCES`, as in `csi:0` or `synthetic`; or where
            one of these stands, env:NAME or @FILE.
        split: Of a dataset.
        labels: True asks for labels, False leaves them out, None takes them where the source has them.
        pace: Feed files or a dataset as a live camera of this many frames per second.
        events: Where a camera that is lost, stalled or back is reported.
        limits: How long a camera may take.
        wait: A camera that is not there yet is awaited instead of being an error.
        window: Which values of frames of more than 8 bits become 0 to 255; without it such frames are refused.
        slices: How volumes become frames.
        classes: Of the network that the frames are for; labels of other classes are left out unless they are asked for.

    Raises:
        ConfigError: Labels or a pace were asked of a source that can have none.
        DataError: The file, folder or dataset is missing, damaged or empty.
        DeviceError: The camera is absent or gives no frames.
    """
    context = SourceContext(events or EventLog(), limits or LiveLimits(), split, labels, pace, wait, window, slices)
    address = source if isinstance(source, SourceAddress) else SourceAddress.given(source)
    opened = _open(address, context)
    if labels is None and classes and opened.classes and tuple(classes) != tuple(opened.classes):
        opened.close()
        _LOG.info("Accuracy is not measured: the labels of %s have other classes than the network.", opened.name)
        opened = _open(address, replace(context, labels=False))
    try:
        if labels and opened.classes is None:
            raise ConfigError(
                f"`labels` was given, but {opened.name} has no labels.", "Use a dataset spec, as in camvid:DIR."
            )
        if pace is None or isinstance(opened, PacedSource):
            return opened
        if opened.live:
            raise ConfigError(
                f"`pace` was given, but {opened.name} is live and has a pace of its own.", "Leave out `pace`."
            )
    except ConfigError:
        opened.close()
        raise
    return PacedSource(opened, pace)


def _open(address: SourceAddress, context: SourceContext) -> Source:
    source = address.reveal()
    name, colon, place = source.partition(":")
    path = address.path
    if name in SOURCES and (colon or path is None):
        kind: SourceKind = SOURCES.get(name)
        with address.concealing(), SOURCES.calling(name):
            opened = kind.open(place, context)
        if not address.hides:
            return opened
        opened.name = str(address)
        return opened if name in SOURCES.own else ConcealedSource(opened, address)
    if (index := camera_index(source)) is not None:
        return open_camera(index, context)
    if address.is_url:
        return open_stream(address, context)
    if path is not None:
        is_folder_or_image = path.is_dir() or is_image(path)
        return (
            open_images(str(address), path, context.window) if is_folder_or_image else open_video(path, context.window)
        )
    if name in DATASETS:
        split = match_slices(match_window(open_split(source, context.split), context.window), context.slices)
        return DatasetSource(split, labels=context.labels is not False)
    own = ", ".join(SOURCES.get(name).form for name in SOURCES.names() if name not in DATASETS)
    raise DataError(
        f"{address} does not exist.",
        "`source` takes a camera index, a video file, a folder of images, a URL, or NAME:PLACE: "
        f"{own}, {known_forms()}.",
    )
