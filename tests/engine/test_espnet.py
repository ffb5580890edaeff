"""The figures of a network that other people trained, on real frames."""

from jetseg.engine.build_config import BuildConfig
from jetseg.engine.building import run

MANIFEST = """
classes: [sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]
ignore_index: 11
input: {height: 360, width: 480, color: bgr, mean: [110.331, 108.409, 105.033], std: [18392.13, 18536.205, 17825.52]}
output: {kind: logits}
"""


def test_int8_stays_near_float_on_camvid(shared_dir, tmp_path):
    manifest = tmp_path / "espnet.yaml"
    manifest.write_text(MANIFEST)
    result = run(
        BuildConfig(
            model=shared_dir / "models" / "espnet_camvid" / "espnet_p2q8_camvid_480x360.onnx",
            manifest=manifest,
            data=f"camvid:{shared_dir / 'data' / 'camvid'}",
            images=8,
            eval_split="val",
            eval_frames=8,
            out=tmp_path / "espnet.int8.onnx",
            preset="fast",
            max_drop=2.0,
            max_class_drop=10.0,
        )
    )
    assert result.parent_accuracy is not None
    assert result.accuracy is not None
    assert result.parent_accuracy.miou > 60.0
    assert result.accuracy.miou > result.parent_accuracy.miou - 2.0
