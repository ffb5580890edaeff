"""What a kit holds: its index, and the names inside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetseg.config import Record
from jetseg.kit.config import Tolerance

INDEX = "kit.json"
README = "README.md"
CACHES = "caches"
"""Folder of calibration caches, one for each TensorRT version that reads them."""
FRAMES = "frames"
"""Folder of the reference frames; it is a `folder:` dataset of its own."""
IMAGES = f"{FRAMES}/images"
LABELS = f"{FRAMES}/labels"
EXPECTED = f"{FRAMES}/expected"


class Member(Record):
    """One file of a kit."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class KitIndex(Record):
    """The file `kit.json`.

    Attributes:
        format: Of this file.
        jetseg: Version that packed the kit.
        model: The float ONNX file; its manifest is beside it.
        ranges: The ranges file, if the kit can build INT8 engines.
        qdq: The network with explicit quantizers, likewise.
        target: Name of the computer that it was packed for; see `jetseg.targets`.
        frames: Names of the reference frames.
        labelled: Whether they have labels.
        tolerance: What an engine may lose on them.
        simulated_agreement: Percent of pixels that kept their class in the exact simulation of TensorRT's INT8.
        members: Every other file of the kit.
    """

    format: Literal[1] = 1
    jetseg: str
    model: str
    ranges: str | None = None
    qdq: str | None = None
    target: str | None = None
    frames: tuple[str, ...] = Field(min_length=1)
    labelled: bool
    tolerance: Tolerance
    simulated_agreement: float | None = None
    members: dict[str, Member]
