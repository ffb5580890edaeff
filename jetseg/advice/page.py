"""The page about an advice: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.advice.config import AdviseConfig
from jetseg.report.figures import layer_bars, series_color, speed_scatter
from jetseg.report.page import fill_page
from jetseg.storage import write_text

if TYPE_CHECKING:
    from jetseg.advice.advising import Advice


def write_page(out: Path, network: str, config: AdviseConfig, advice: Advice) -> None:
    """Writes the page.

    Args:
        out: The page.
        network: Name of the network, for the headline.
        config: What was asked for.
        advice: What is said.
    """
    points = [(advice.float_ms / chain.speedup, advice.miou - chain.expected_drop) for chain in advice.ranked]
    figures = {"chains": speed_scatter(points, "latency, milliseconds, fastest run")}
    for finding in advice.findings:
        for number, bars in enumerate(finding.figures):
            figures[bars.title] = layer_bars(bars.names, bars.values, bars.axis, f"{finding.technique}-{number}")
    content = {
        "title": f"What makes {network} faster",
        "advice": advice,
        "rule": _rule(config),
        "colors": [series_color(index) for index in range(len(advice.ranked))],
    }
    write_text(out, fill_page(content, figures, "advice/page.html"))


def _rule(config: AdviseConfig) -> str:
    within = f"that are expected to lose at most {config.max_drop:g} points of mIoU"
    if config.budget_ms is None:
        order = f"Of chains {within}, the fastest comes first; what is as fast is ranked by its cost."
    else:
        order = f"Of chains {within} and take at most {config.budget_ms:g} ms, the one that loses least comes first."
    return f"{order} A loss below zero is a gain."
