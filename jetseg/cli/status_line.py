"""The live line on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter

from rich.live import Live
from rich.text import Text

from jetseg.camera.contract import FrameResult
from jetseg.cli.output import Terminal, figure, print_lines
from jetseg.monitor.rate import Percentiles
from jetseg.monitor.statistics import LoopStatistics

_TERMINAL_SECONDS = 0.25
_LOG_SECONDS = 10.0
"""Between lines in a log file, where each one stays."""


@contextmanager
def open_status_line(console: Terminal) -> Iterator[StatusLine]:
    """Gives a sink that rewrites its lines in a terminal, and else prints one now and then."""
    if not console.is_terminal:
        yield StatusLine(console, None)
        return
    # refreshed by hand: a refresh thread of its own would take the interpreter from the engine's thread
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield StatusLine(console, live)


class StatusLine:
    """Shows rate, frame age, stage times, dropped frames and mIoU; see `open_status_line`."""

    def __init__(self, console: Terminal, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._period = _TERMINAL_SECONDS if live else _LOG_SECONDS
        self._lines: dict[str, list[str]] = {}
        self._lock = Lock()

    def of(self, camera: str = "") -> CameraStatus:
        """Returns a sink for the lines of one camera, with its name if there are several."""
        return CameraStatus(self.show, camera, self._period)

    def show(self, camera: str, lines: list[str]) -> None:
        """Shows the present lines of a camera; any thread may."""
        with self._lock:
            self._lines[camera] = [f"{camera}: {lines[0]}"] if camera else lines
            if self._live is not None:
                everything = "\n".join(line for shown in self._lines.values() for line in shown)
                self._live.update(Text(everything, no_wrap=True, overflow="ellipsis"), refresh=True)
            else:
                print_lines("; ".join(self._lines[camera]), console=self._console)


class CameraStatus:
    """The sink that shows one camera now and then; see `StatusLine`."""

    wants_overlay = False

    def __init__(self, show: Callable[[str, list[str]], None], camera: str, period: float) -> None:
        self._show, self._camera, self._period = show, camera, period
        self._next = perf_counter() + period

    def write(self, result: FrameResult) -> None:
        """Shows the present figures if it is time to."""
        now = perf_counter()
        if now >= self._next:
            self._next = now + self._period
            self._show(self._camera, status_lines(result.statistics))


def status_lines(statistics: LoopStatistics) -> list[str]:
    """Writes the present figures, over the last frames, as two lines."""
    rate, bare = statistics.rate.recent_frames_per_second, statistics.engine.frames_per_second
    head = [
        f"{figure(rate, 1)} fps (engine alone {figure(bare, 1)})",
        f"frame age p50/p95/p99 {_triple(statistics.frame_age.recent_percentiles())} ms",
        f"{statistics.rate.count} frames, {statistics.dropped} dropped",
    ]
    if statistics.accuracy is not None:
        head.append(f"mIoU {figure(statistics.accuracy.score().miou, 1)}")
    times = {name: record.recent_percentiles() for name, record in statistics.stages.items()}
    stages = ", ".join(f"{name} {figures.p50:.1f}" for name, figures in times.items() if figures)
    return ["   ".join(head), f"stages p50 ms: {stages}"]


def _triple(figures: Percentiles | None) -> str:
    return "-" if figures is None else f"{figures.p50:.0f}/{figures.p95:.0f}/{figures.p99:.0f}"
