"""What a source gives and what a sink takes; a new kind of either needs nothing else.

A package outside jetseg brings a source with one class and an entry point in the group `jetseg.sources`; then
`jetseg run ENGINE --source gray:128` opens it:

    class Gray(Source):
        form = "gray:LEVEL"

        def __init__(self, level: int) -> None:
            self.name = f"gray:{level}"
            self._image = np.full((480, 640, 3), level, np.uint8)

        @classmethod
        def open(cls, place: str, context: SourceContext) -> Source:
            return cls(int(place))

        def read(self) -> SourceFrame | None:
            return SourceFrame(0, "gray", perf_counter(), self._image)

And a sink likewise in the group `jetseg.sinks`, opened by `--sink road:FILE`:

    class RoadShare:
        form = "road:FILE"
        wants_overlay = False

        def __init__(self, file: TextIO, road: int) -> None:
            self._file, self._road = file, road

        @classmethod
        @contextmanager
        def open(cls, place: str, context: SinkContext) -> Iterator[Sink]:
            with Path(place).open("w") as file:
                yield cls(file, context.manifest.classes.index("road"))

        def write(self, result: FrameResult) -> None:
            print((result.class_map_hw_u8 == self._road).mean(), file=self._file)

One that may be slow, or fail, returns `jetseg.camera.sinks.background.in_background` of itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from jetseg.camera.config import LiveLimits
from jetseg.camera.stopping import StopFlag
from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.manifest import Manifest
from jetseg.monitor.events import EventLog
from jetseg.monitor.observer import Observation
from jetseg.monitor.statistics import LoopStatistics, SourceLosses
from jetseg.postprocess import ClassMap, TaskMap
from jetseg.ros.stamp import Stamp

DatedBy = Literal["capture", "arrival", "reading"]


@dataclass(frozen=True)
class SourceFrame:
    """One frame as it came.

    Attributes:
        sequence: Counts the frames that came whole, from 0. One that was replaced before it was read is
            missing in the count.
        name: Name of the frame, as in "0001TP_008550".
        captured_at: `perf_counter` seconds. Live: when the camera captured the frame or, where it does not tell, handed
            it over, before it waited in a queue and was decoded. Else: when reading began.
        image_hwc_u8: height x width x 3, BGR, 0..255.
        label_hw_u8: height x width of class ids; None without labels.
        shown_at: Seconds since the first frame at which a video shows it; None for all else.
        shown_for: Seconds that it is shown, where the video tells.
        stamp: What a message of ROS 2 that brought it says of time and place; None for all else.
        dated_by: What `captured_at` is: the "capture", the "arrival" at this machine, before which encoder, network and
            decoder lie, or where "reading" a file began; None means "arrival" for a camera, and else "reading".
        lag_s: Of a recording: seconds from the capture to its arrival at the recorder, where stamps tell.
    """

    sequence: int
    name: str
    captured_at: float
    image_hwc_u8: npt.NDArray[np.uint8]
    label_hw_u8: npt.NDArray[np.uint8] | None = None
    shown_at: float | None = None
    shown_for: float | None = None
    stamp: Stamp | None = None
    dated_by: DatedBy | None = None
    lag_s: float | None = None


class Source(Protocol):
    """Gives frames, one after the other. `read` and `close` are called from one and the same thread.

    A camera that is lost is the source's own business: it reports events and opens it again. A class that inherits
    from this one needs only `name` and `read`: it is then a file without labels.
    """

    name: str
    """What the user called it, as in "camvid:/data/camvid"."""
    split: str | None = None
    """Split of the dataset that the frames come from; None if they come from elsewhere."""
    live: bool = False
    """A camera, which does not wait: late frames are dropped. Else no frame is lost."""
    frames_per_second: float | None = None
    """The nominal rate; None if the source does not tell."""
    size_hw: tuple[int, int] | None = None
    """Height and width; None before the first frame is known."""
    classes: tuple[str, ...] | None = None
    """Class names of the labels; None if the source has no labels."""
    ignore_index: int | None = None
    losses: SourceLosses = SourceLosses()
    """Frames that the source itself lost; none where every frame is read. A source that loses some has its own."""

    @abstractmethod
    def read(self) -> SourceFrame | None:
        """Waits for the next frame; None at the end.

        Raises:
            TimeoutError: A live source has no frame yet; read again. So its reader can end in between.
            DataError: A file is damaged.
            StageStoppedError: Only a new process can help.
        """
        ...

    def close(self) -> None:
        """Frees the device or file. May be called twice."""
        return


@dataclass(frozen=True)
class SourceContext:
    """What a source is opened with; each kind takes what it has a use for.

    Attributes:
        events: Where a camera that is lost, stalled or back is reported.
        limits: How long a camera may take.
        split: Of a dataset.
        labels: False leaves labels out; None and True give them where there are some.
        pace: The rate that was asked for; a source that is not live is paced by whoever opens it.
        wait: A camera that is not there yet is awaited instead of being an error.
        window: Which values of frames of more than 8 bits become 0 to 255; without it such frames are refused.
        slices: How volumes become frames.
    """

    events: EventLog
    limits: LiveLimits
    split: str
    labels: bool | None
    pace: float | None
    wait: bool
    window: FrameWindow | None = None
    slices: SliceSpec | None = None


class SourceKind(Protocol):
    """A kind of source, as `jetseg.registry.SOURCES` finds it by name; the class itself is what is registered."""

    form: ClassVar[str]
    """How a user names one, as in "csi:N"."""

    @staticmethod
    def open(place: str, context: SourceContext) -> Source:
        """Opens a source.

        Args:
            place: What follows the name and its colon; may be empty.
            context: What else was asked for.

        Raises:
            ConfigError: The place is written wrongly.
            DataError: A file is missing or damaged.
            DeviceError: The camera is absent or gives no frames.
        """
        ...


@dataclass(frozen=True)
class FrameResult:
    """One processed frame, on its way to the sinks, which may keep it: its arrays are never written again.

    Attributes:
        frame: The frame.
        class_map_hw_u8: Class ids at the network's output size; the number of classes means void.
        ready_at: `perf_counter` seconds at which the class map was ready.
        overlay_hwc_u8: The frame with colored classes; None if no sink wants it.
        statistics: The live figures of the run.
        further: The maps of a network's other tasks, by name: class maps, and depth (float32, in the output's unit).
    """

    frame: SourceFrame
    class_map_hw_u8: ClassMap
    ready_at: float
    overlay_hwc_u8: npt.NDArray[np.uint8] | None
    statistics: LoopStatistics
    further: Mapping[str, TaskMap] = field(default_factory=dict)


class Sink(Protocol):
    """Takes every processed frame, in the thread that runs the loop. Whoever opened it closes it."""

    wants_overlay: bool

    def write(self, result: FrameResult) -> None:
        """Takes one processed frame.

        Raises:
            JetsegError: It cannot be taken; this ends the run.
        """
        ...


@dataclass(frozen=True)
class SinkContext:
    """What a sink may want to know when it is opened.

    Attributes:
        manifest: Of the network: classes, colors, size of the class maps.
        events: Of the run, to report to.
        stop: Ends the run, when it is set.
        live: The source is a camera: its frames do not wait, and a sink that has no time for one may skip it.
        frames_per_second: Nominal rate of the source; None if it does not tell.
        size_hw: Height and width of its frames; None before the first one is known.
        watch: Calls what it is given with the figures of the run, twice a second; as `Observer.listen`.
        source: What the user called the source.
        alpha: Weight of the class colors in what a sink draws by itself, 0 to 1.
        camera: Name of the camera, where several have a sink of this kind each; else empty.
    """

    manifest: Manifest
    events: EventLog
    stop: StopFlag
    live: bool = False
    frames_per_second: float | None = None
    size_hw: tuple[int, int] | None = None
    watch: Callable[[Callable[[Observation], None]], None] = lambda listener: None  # noqa: ARG005
    source: str = ""
    alpha: float = 0.5
    camera: str = ""


class SinkKind(Protocol):
    """A kind of sink, as `jetseg.registry.SINKS` finds it by name; the class itself is what is registered."""

    form: ClassVar[str]
    """How a user names one, as in "video:FILE.mp4"."""

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a sink, which is closed with the context manager.

        Args:
            place: What follows the name and its colon; may be empty.
            context: What it may want to know.

        Raises:
            JetsegError: It cannot be opened.
        """
        ...
