"""`jetseg health`: whether a run on this machine still gets its frames, for supervisors of containers."""

from __future__ import annotations

from typing import Annotated

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines


def health(
    metrics: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of the metrics of `jetseg run`.")
    ],
    max_seconds: Annotated[float, typer.Option(min=0.1, help="How old the last frame may be.")] = 10.0,
    as_json: options.AsJson = False,
) -> None:
    """Tells whether a run on this machine still gets its frames; if not, the exit code is 1.

    It asks the metrics of `jetseg run --metrics PORT` how long ago the last class map was ready. A run that waits for
    its camera is not healthy; one that hangs does not answer, or its last frame grows old.

    Examples:

        jetseg health --metrics 9100 --max-seconds 10
    """
    from jetseg.monitor.health import check_health

    seconds = check_health(metrics, max_seconds)
    if as_json:
        print_json({"since_last_frame_s": round(seconds, 3)})
    else:
        print_lines(f"The last frame is {seconds:.1f} seconds old.")
