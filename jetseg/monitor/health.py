"""Asks a run on this machine how old its last frame is, through its page of metrics."""

from __future__ import annotations

import re
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

from jetseg.errors import QualityError

_SECONDS_TO_ANSWER = 5.0
_MOST_BYTES = 1 << 20


def check_health(port: int, max_seconds: float) -> float:
    """Returns the seconds since a class map of the run was ready, of several cameras the one that is worst off.

    Args:
        port: Of the run's metrics, on this machine.
        max_seconds: The most that it may be.

    Raises:
        QualityError: The run does not answer, has had no frame yet, or its last one is older.
    """
    try:
        # a proxy that the environment names is for other machines
        with build_opener(ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/metrics", timeout=_SECONDS_TO_ANSWER
        ) as page:
            text = page.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise QualityError(
            f"No run answers at 127.0.0.1:{port}: {error}.", f"Start it with `metrics` at {port}, or look at its log."
        ) from error
    ages = re.findall(r"^jetseg_since_last_frame_seconds(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
    cameras = len(re.findall(r"^jetseg_frames_total(?:\{[^}]*\})? ", text, re.MULTILINE))
    if not ages or len(ages) < cameras:
        raise QualityError("The run has not had a frame yet.", "Look at its log, and at the camera.")
    seconds = max(map(float, ages))
    if not seconds <= max_seconds:
        raise QualityError(
            f"The run's last frame is {seconds:.1f} seconds old, and {max_seconds:g} are allowed.",
            "Look at its log, and at the camera.",
        )
    return seconds
