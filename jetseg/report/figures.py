"""Figures as inline SVG. The only place that imports matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from jetseg.errors import MissingDependencyError
from jetseg.report.rows import pareto_front

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("matplotlib", "report", "draws the figures of a report") from error

SERIES = ("#4c78c8", "#e4793c", "#2f9e77", "#b05bb5", "#c9a227", "#d1495b", "#3aa6b9", "#8a8f98")
"""Colors of networks, readable on white and on black; used again after the last."""

_INK = "#010203"
"""Stands for the page's text color, which differs between light and dark."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jetseg",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def series_color(index: int) -> str:
    """Returns the color of the network at a position, the same in every figure and table."""
    return SERIES[index % len(SERIES)]


def iou_bars(classes: Sequence[str], iou: Sequence[Sequence[float | None]]) -> str:
    """Draws the IoU per class, one bar for each network.

    Args:
        classes: Class names.
        iou: Percent per class, of each network; None where undefined.

    Returns:
        SVG, to be put into an HTML page as it is; its text takes the page's color.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / max(1, len(iou))
        for index, values in enumerate(iou):
            places = [place - 0.4 + width * (index + 0.5) for place in range(len(classes))]
            heights = [0.0 if value is None else value for value in values]
            axes.bar(places, heights, width=width * 0.92, color=series_color(index), zorder=2)
        crowded = len(classes) > 8
        turn, align = (35, "right") if crowded else (0, "center")
        axes.set_xticks(range(len(classes)), classes, rotation=turn, ha=align)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.6, len(classes) - 0.4)
        axes.set_ylim(0, 100)
        axes.set_ylabel("IoU, percent")
        _grid(axes, "y")
        return _svg(figure, "bars")


def speed_scatter(
    points: Sequence[tuple[float, float]], latency: str = "latency, milliseconds (p50, network alone)"
) -> str:
    """Draws mIoU over latency; a line joins the Pareto front, those that no other network beats in both.

    Args:
        points: Latency in milliseconds and mIoU in percent, of each network.
        latency: What stands at the axis of the latencies.

    Returns:
        SVG, as `iou_bars` does.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        axes = figure.subplots()
        latencies, accuracies = [point[0] for point in points], [point[1] for point in points]
        front = pareto_front(points)
        steps = [latencies[place] for place in front], [accuracies[place] for place in front]
        axes.plot(*steps, color=_INK, alpha=0.35, linewidth=1.0, drawstyle="steps-post", zorder=1)
        for index, (latency_ms, miou) in enumerate(points):
            inside = series_color(index) if index in front else "none"
            axes.scatter([latency_ms], [miou], s=70, color=inside, edgecolors=series_color(index), zorder=3)
        axes.set_xlabel(latency)
        axes.set_ylabel("mIoU, percent")
        axes.set_xlim(0, max(latencies) * 1.12)
        spread = max(max(accuracies) - min(accuracies), 2.0)
        axes.set_ylim(max(0.0, min(accuracies) - 0.35 * spread), min(100.0, max(accuracies) + 0.35 * spread))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        _grid(axes, "both")
        return _svg(figure, "scatter")


def layer_bars(
    layers: Sequence[str],
    changed: Sequence[float],
    axis: str = "pixels that change their class, percent",
    name: str = "layers",
) -> str:
    """Draws what each layer alone changes, in 8 bits for example, in the order given, from top to bottom.

    Args:
        layers: Names of the layers.
        changed: Pixels that change their class, in percent.
        axis: What stands at the axis.
        name: Of the figure, other than that of any other one on its page.

    Returns:
        SVG, as `iou_bars` does.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.5, 0.8 + 0.24 * len(layers)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(layers)), changed, height=0.7, color=series_color(1), zorder=2)
        for place, value in enumerate(changed):
            axes.annotate(f"{value:.2f}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(layers)), layers, fontsize=8)
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(axis)
        axes.margins(x=0.08)
        _grid(axes, "x")
        return _svg(figure, name)


def loss_bars(
    names: Sequence[str], losses: Sequence[tuple[float, float, float]], claimed: Sequence[bool], figure_name: str
) -> str:
    """Draws losses with their intervals, in the order given, from top to bottom; those that are claimed are filled.

    Args:
        names: What was lost.
        losses: Points, and both ends of the interval.
        claimed: Which ones chance does not explain.
        figure_name: Sets it apart from others of its kind on the page.

    Returns:
        SVG, as `iou_bars` does.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.27 * len(names)), layout="constrained")
        axes = figure.subplots()
        for place, ((points, low, high), sure) in enumerate(zip(losses, claimed, strict=True)):
            color = series_color(1) if sure else series_color(7)
            axes.barh(place, points, height=0.68, color=color, alpha=1.0 if sure else 0.45, zorder=2)
            axes.plot([low, high], [place, place], color=_INK, linewidth=1.2, alpha=0.7, zorder=3)
        axes.axvline(0, color=_INK, linewidth=0.8, alpha=0.6, zorder=4)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("points lost, with interval")
        _grid(axes, "x")
        return _svg(figure, figure_name)


def reliability_lines(networks: Sequence[tuple[Sequence[float], Sequence[float]]], figure_name: str) -> str:
    """Draws how often networks are right, over how sure they are; on the diagonal, confidence is right.

    Args:
        networks: For each, mean confidence and share of right pixels of each bin, 0..1.
        figure_name: Sets it apart from others of its kind on the page.

    Returns:
        SVG, as `iou_bars` does.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.35, linewidth=1.0, zorder=1)
        for index, (confidence, right) in enumerate(networks):
            axes.plot(confidence, right, color=series_color(index), marker="o", markersize=4, zorder=3)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share of pixels that are right")
        _grid(axes, "both")
        return _svg(figure, figure_name)


def _grid(axes: Axes, axis: str) -> None:
    axes.grid(True, axis=axis, color=_INK, alpha=0.12, linewidth=0.8, zorder=0)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _svg(figure: Figure, name: str) -> str:
    """Writes SVG without XML prologue, in the page's text color, with ids that no other figure of it has."""
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_alpha(0.0)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would reach the whole page
    text = re.sub(r'\b(id="|href="#)|(url\(#)', rf"\g<1>\g<2>{name}-", text)
    return text.replace(_INK, "currentColor")
