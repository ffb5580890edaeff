"""What a source gives and what a sink takes; a new kind of either needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from jetseg.monitor.statistics import LoopStatistics, SourceLosses
from jetseg.postprocess import ClassMap


@dataclass(frozen=True)
class SourceFrame:
    """One frame as it came.

    Attributes:
        sequence: Counts the frames that came whole, from 0. One that was replaced before it was read is
            missing in the count.
        name: Name of the frame, as in "0001TP_008550".
        captured_at: `perf_counter` seconds. Live: when the camera handed the frame over, before it waited in
            a queue and was decoded. Else: when reading began.
        image_hwc_u8: height x width x 3, BGR, 0..255.
        label_hw_u8: height x width of class ids; None without labels.
    """

    sequence: int
    name: str
    captured_at: float
    image_hwc_u8: npt.NDArray[np.uint8]
    label_hw_u8: npt.NDArray[np.uint8] | None = None


class Source(Protocol):
    """Gives frames, one after the other. `read` and `close` are called from one and the same thread.

    A camera that is lost is the source's own business: it reports events and opens it again.
    """

    name: str
    """What the user called it, as in "camvid:/data/camvid"."""
    split: str | None
    """Split of the dataset that the frames come from; None if they come from elsewhere."""
    live: bool
    """A camera, which does not wait: late frames are dropped. Else no frame is lost."""
    frames_per_second: float | None
    """The nominal rate; None if the source does not tell."""
    size_hw: tuple[int, int] | None
    """Height and width; None before the first frame is known."""
    classes: tuple[str, ...] | None
    """Class names of the labels; None if the source has no labels."""
    ignore_index: int | None
    losses: SourceLosses
    """Frames that the source itself lost; none where every frame is read."""

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
    """

    frame: SourceFrame
    class_map_hw_u8: ClassMap
    ready_at: float
    overlay_hwc_u8: npt.NDArray[np.uint8] | None
    statistics: LoopStatistics


class Sink(Protocol):
    """Takes every processed frame, in the thread that runs the loop. Whoever opened it closes it."""

    wants_overlay: bool

    def write(self, result: FrameResult) -> None:
        """Takes one processed frame.

        Raises:
            JetsegError: It cannot be taken; this ends the run.
        """
        ...
