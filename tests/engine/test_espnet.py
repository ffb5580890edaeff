"""The figures of a network that other people trained, on real frames."""

import pytest

from jetseg.network import open_network
from jetseg.workflows.building import build_engine


@pytest.mark.long
def test_int8_stays_near_float_on_camvid(shared_dir, espnet, tmp_path):
    model, manifest = espnet
    result = build_engine(
        open_network(model, manifest),
        data=f"camvid:{shared_dir / 'data' / 'camvid'}",
        images=8,
        eval_split="val",
        eval_frames=8,
        out=tmp_path / "espnet.int8.onnx",
        preset="fast",
        max_drop=2.0,
        max_class_drop=10.0,
        estimate=False,
    )
    assert result.parent_accuracy is not None
    assert result.accuracy is not None
    assert result.parent_accuracy.miou > 60.0
    assert result.accuracy.miou > result.parent_accuracy.miou - 2.0
