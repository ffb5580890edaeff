"""Two small networks, the second one made from the first, and labelled frames for them."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from small_network import small_manifest, small_network, write_dataset

from jetseg.data.contract import Split
from jetseg.data.dataset import open_split
from jetseg.engine.engine import open_engine
from jetseg.manifest import Stage
from jetseg.network import save_manifest
from jetseg.onnx.cost import Cost
from jetseg.report.rows import Entry


@pytest.fixture
def dataset(tmp_path: Path) -> Split:
    return open_split(write_dataset(tmp_path / "data", frames=8), "all")


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[list[Entry]]:
    parent, child = tmp_path / "parent.onnx", tmp_path / "child.onnx"
    onnx.save(small_network(0), str(parent))
    first = save_manifest(parent, small_manifest())
    onnx.save(small_network(1), str(child))
    made = {"parent_sha256": first.sha256, "stages": (Stage(name="prune", settings={"ratio": 0.5}),)}
    save_manifest(child, small_manifest().changed(**made))
    engines = [open_engine(path, threads=1) for path in (parent, child)]
    yield [
        Entry(path.stem, path, engine, engine.manifest, Cost(1000, 2000))
        for path, engine in zip((parent, child), engines, strict=True)
    ]
    for engine in engines:
        engine.close()
