"""One row per network: everything that a headline table says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetseg.engine.backend import DEFAULT_BACKEND
from jetseg.engine.engine import Engine
from jetseg.evaluation.benchmark import Latency
from jetseg.evaluation.confusion import Score
from jetseg.manifest import Manifest
from jetseg.measured import VolumeAccuracy
from jetseg.network import artifact_sha256
from jetseg.onnx.cost import Cost


@dataclass(frozen=True)
class Entry:
    """A network to report on, already open.

    Attributes:
        name: Short name, unique in the report.
        path: Its file.
        engine: The open network; the report does not close it.
        manifest: The file's own manifest; the engine's is another one where a checkpoint was exported to run.
        cost: Parameters and multiply-accumulates, where they are known.
    """

    name: str
    path: Path
    engine: Engine
    manifest: Manifest
    cost: Cost | None = None

    @property
    def backend(self) -> str:
        """What runs it."""
        return backend_of(self.engine.manifest)

    @property
    def stage(self) -> str:
        """The last step of its history, or what it is if it has none."""
        stages = self.manifest.stages
        return stages[-1].name if stages else self.manifest.kind


@dataclass(frozen=True)
class Row:
    """What is known about one network; None where it was not measured.

    Attributes:
        miou: In percent, as `pixel_accuracy` and `per_class_iou` are.
        miou_change: Against the first network, in points.
        miou_change_parent: Against the network that it was made from, if that one is in the report.
        peak_memory_bytes: Largest resident memory of a process that only opens and runs this network.
    """

    name: str
    path: str
    kind: str
    stage: str
    precision: str
    backend: str
    parameters: int | None
    macs: int | None
    size_bytes: int
    latency: Latency | None = None
    peak_memory_bytes: int | None = None
    miou: float | None = None
    pixel_accuracy: float | None = None
    per_class_iou: dict[str, float | None] | None = None
    volumes: VolumeAccuracy | None = None
    miou_change: float | None = None
    miou_change_parent: float | None = None
    parent: str | None = None


def backend_of(manifest: Manifest) -> str:
    """Returns what runs a network: torch for a checkpoint, else ONNX Runtime unless the manifest says otherwise."""
    return "torch" if manifest.kind == "checkpoint" else manifest.backend or DEFAULT_BACKEND


def make_rows(
    entries: Sequence[Entry],
    *,
    latencies: Mapping[str, Latency] | None = None,
    scores: Mapping[str, Score] | None = None,
    peak_memory: Mapping[str, int | None] | None = None,
    volumes: Mapping[str, VolumeAccuracy | None] | None = None,
) -> tuple[Row, ...]:
    """Joins what was measured, each by the entry's name, into one row per entry."""
    latencies, scores, peak_memory, volumes = latencies or {}, scores or {}, peak_memory or {}, volumes or {}
    parents = _parents(entries)
    rows = []
    for entry in entries:
        manifest, score = entry.manifest, scores.get(entry.name)
        parent = parents[entry.name]
        rows.append(
            Row(
                name=entry.name,
                path=str(entry.path),
                kind=manifest.kind,
                stage=entry.stage,
                precision=manifest.precision,
                backend=entry.backend,
                parameters=entry.cost.parameters if entry.cost else None,
                macs=entry.cost.macs if entry.cost else None,
                size_bytes=entry.path.stat().st_size,
                latency=latencies.get(entry.name),
                peak_memory_bytes=peak_memory.get(entry.name),
                miou=score.miou if score else None,
                pixel_accuracy=score.pixel_accuracy if score else None,
                per_class_iou=score.per_class_iou if score else None,
                volumes=volumes.get(entry.name),
                miou_change=_change(score, scores.get(entries[0].name)) if entry is not entries[0] else None,
                miou_change_parent=_change(score, scores.get(parent)) if parent else None,
                parent=parent,
            )
        )
    return tuple(rows)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the positions of the points that no other one beats, from left to right.

    Args:
        points: Something that should be small, and something that should be large, of each.

    >>> pareto_front([(4.0, 60.0), (9.0, 62.0), (5.0, 59.0), (9.0, 61.0)])
    [0, 1]
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1])):
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Returns the shortest name per file that tells it from the others; a file given again is numbered.

    >>> unique_names([Path("a/net.onnx"), Path("a/net.safetensors"), Path("int8.onnx"), Path("int8.onnx")])
    ['net.onnx', 'net.safetensors', 'int8', 'int8 (2)']
    """
    names: list[str] = []
    for path in paths:
        others = [other for other in paths if other != path]
        if path.stem not in [other.stem for other in others]:
            name = path.stem
        elif path.name not in [other.name for other in others]:
            name = path.name
        else:
            name = str(path)
        again = paths[: len(names)].count(path) + 1
        names.append(name if again == 1 else f"{name} ({again})")
    return names


def _parents(entries: Sequence[Entry]) -> dict[str, str | None]:
    """Finds, by hash, the entry that each entry was made from."""
    hashes = {entry.name: artifact_sha256(entry.path) for entry in entries}
    names = {digest: name for name, digest in hashes.items()}
    parents = {entry.name: names.get(entry.manifest.parent_sha256 or "") for entry in entries}
    # an engine in fp32 may be its parent byte for byte
    return {name: parent if parent and hashes[parent] != hashes[name] else None for name, parent in parents.items()}


def _change(score: Score | None, reference: Score | None) -> float | None:
    if score is None or reference is None or score.miou is None or reference.miou is None:
        return None
    return score.miou - reference.miou
