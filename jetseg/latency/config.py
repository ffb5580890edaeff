"""Settings of a latency table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jetseg.config import Cli, Settings
from jetseg.manifest import EnginePrecision


class MeasureLayersConfig(Settings):
    """What a table is measured on, and in which networks."""

    backend: Annotated[str, Cli(metavar="NAME", registry="backends")] = Field(
        "onnxruntime", description="Backend that runs the networks."
    )
    precision: EnginePrecision = Field("fp32", description="Precision of the engines.")
    threads: int = Field(1, ge=1, description="Threads of a CPU backend.")
    sweep: int = Field(
        200, ge=0, le=800, description="How many networks to draw at random, beside those that are given."
    )
    seed: int = Field(0, ge=0, description="The first drawn network; each further one has the next number.")
