"""The headline table on the terminal: for `bench`, `report` and the demo."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from jetseg.report.rows import Row

_LOSS_SHOWN = 0.05
"""Changes below this many points are noise of rounding and stay uncolored."""


def headline_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """Lays networks out for a terminal, one column each, so that it fits into 80 characters.

    Args:
        rows: The networks; a figure that none of them has is left out.
        title: Text above the table.
    """
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(Text(row.name), justify="right", overflow="fold")
    for heading, write in _FIGURES:
        cells = [write(row) for row in rows]
        alone = write is _speed and len(rows) == 1  # nothing to compare with
        if not alone and any(cell.plain for cell in cells):
            table.add_row(heading, *cells)
    return table


def short_count(count: int | None) -> str:
    """Writes a large count with a metric prefix.

    >>> short_count(354_477), short_count(1_494_282_720), short_count(None)
    ('354 k', '1.49 G', '')
    """
    if count is None:
        return ""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def short_bytes(size_bytes: int | None) -> str:
    """Writes a number of bytes in MB (10^6 bytes).

    >>> short_bytes(1_479_010)
    '1.48 MB'
    """
    return "" if size_bytes is None else f"{size_bytes / 1e6:.{2 if size_bytes < 1e8 else 0}f} MB"


def signed(change: float | None) -> str:
    """Writes a change in points with its sign.

    >>> signed(-0.456), signed(None)
    ('-0.46', '')
    """
    return "" if change is None else f"{change:+.2f}"


def _speed(row: Row) -> Text:
    latency = row.latency
    if latency is None:
        return Text()
    spread = f" ({latency.speed_ratio_min:.2f}..{latency.speed_ratio_max:.2f})"
    return Text(f"{latency.speed_ratio:.2f}x").append(
        spread if latency.speed_ratio_min != latency.speed_ratio_max else "", style="dim"
    )


def _change(change: float | None) -> Text:
    if change is None or abs(change) < _LOSS_SHOWN:
        return Text(signed(change))
    return Text(signed(change), style="red" if change < 0 else "green")


def _latency(attribute: str) -> Callable[[Row], Text]:
    return lambda row: Text("" if row.latency is None else f"{getattr(row.latency, attribute):.2f}")


_FIGURES: tuple[tuple[str, Callable[[Row], Text]], ...] = (
    ("stage", lambda row: Text(row.stage)),
    ("precision", lambda row: Text(row.precision)),
    ("backend", lambda row: Text(row.backend)),
    ("parameters", lambda row: Text(short_count(row.parameters))),
    ("MACs", lambda row: Text(short_count(row.macs))),
    ("file size", lambda row: Text(short_bytes(row.size_bytes))),
    ("mIoU %", lambda row: Text("" if row.miou is None else f"{row.miou:.2f}")),
    ("  vs first", lambda row: _change(row.miou_change)),
    ("  vs parent", lambda row: _change(row.miou_change_parent)),
    ("p50 ms", _latency("p50_ms")),
    ("p95 ms", _latency("p95_ms")),
    ("p99 ms", _latency("p99_ms")),
    ("frames/s", _latency("frames_per_second")),
    ("speed", _speed),
    ("peak memory", lambda row: Text(short_bytes(row.peak_memory_bytes))),
)
