"""What a kit holds: its index, and the names inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from jetseg.config import Record
from jetseg.kit.config import Tolerance

INDEX = "kit.json"
README = "README.md"
CACHES = "caches"
"""Folder of calibration caches, one for each TensorRT version that reads them."""
FRAMES = "frames"
"""Folder of the reference frames; for people, it is a `folder:` dataset of its own."""
IMAGES = f"{FRAMES}/images"
LABELS = f"{FRAMES}/labels"
EXPECTED = f"{FRAMES}/expected"


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Member(Record):
    """One file of a kit."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


FrameName = Annotated[str, Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]


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
    frames: tuple[FrameName, ...] = Field(min_length=1)
    labelled: bool
    tolerance: Tolerance
    simulated_agreement: float | None = None
    members: dict[str, Member]

    @field_validator("frames")
    @classmethod
    def _frames_are_different(cls, frames: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(frames)) != len(frames):
            raise ValueError("a frame is named twice")
        return frames

    def pictures(self) -> dict[str, list[str]]:
        """Returns the files of the frames by folder, in the order of the frames."""
        folders = (IMAGES, EXPECTED, LABELS) if self.labelled else (IMAGES, EXPECTED)
        return {folder: [f"{folder}/{name}.png" for name in self.frames] for folder in folders}


def differences(index: KitIndex, held: Mapping[str, int]) -> list[str]:
    """Compares what an index states with what is there; returns a sentence for each difference, without its subject.

    Args:
        index: The index.
        held: Size of each file in the kit, the index included.
    """
    pictures = {name for names in index.pictures().values() for name in names}
    named = {name for name in (index.model, f"{index.model}.json", index.ranges, index.qdq) if name} | pictures
    others = {name for name in index.members if name.startswith((f"{IMAGES}/", f"{EXPECTED}/", f"{LABELS}/"))}
    sizes = {name: member.size_bytes for name, member in index.members.items() if name in held}
    found = {
        "lacks {}": set(index.members) - set(held),
        "holds {}, not in its index": set(held) - set(index.members) - {INDEX},
        "lacks {}, which its index names": named - set(index.members),
        "holds {}, which belongs to no frame": others - pictures,
        "holds {} in another size than its index says": {name for name in sizes if sizes[name] != held[name]},
    }
    return [words.format(_first(names)) for words, names in found.items() if names]


def _first(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3])
