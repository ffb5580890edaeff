"""A network that other people trained, on real frames: packed, verified, damaged."""

import onnx
from onnx import numpy_helper

from jetseg.kit.packing import PackConfig
from jetseg.kit.packing import run as pack
from jetseg.kit.verifying import VerifyConfig
from jetseg.kit.verifying import run as verify
from jetseg.network import load_manifest, save_manifest
from jetseg.quantization.calibration import CalibrateConfig
from jetseg.quantization.calibration import run as calibrate


def test_espnet_travels_and_damage_is_found(shared_dir, espnet, tmp_path):
    model, manifest = espnet
    data, ranges = f"camvid:{shared_dir / 'data' / 'camvid'}", tmp_path / "r.json"
    calibrate(CalibrateConfig(model=model, manifest=manifest, data=data, images=8, preset="fast", out=ranges))
    kit = pack(
        PackConfig(
            model=model, manifest=manifest, calibration=ranges, data=data, frames=4, out=tmp_path / "espnet.kit.zip"
        )
    ).kit
    result = verify(VerifyConfig(kit=kit, out=tmp_path / "espnet.int8.onnx"))
    assert result.comparison.broken == ()
    assert result.comparison.agreement > 98.5
    assert result.comparison.before.miou > 60
    assert abs(result.comparison.after.miou - result.comparison.before.miou) < 1

    engine = result.engine
    network = onnx.load(str(engine))
    weights = [tensor for tensor in network.graph.initializer if len(tensor.dims) == 4]
    broken = weights[len(weights) // 2]
    broken.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(broken), broken.name))
    described = load_manifest(engine)
    onnx.save(network, str(engine))
    save_manifest(engine, described)
    damaged = verify(VerifyConfig(kit=kit, engine=engine)).comparison
    assert damaged.agreement < result.comparison.agreement
    assert damaged.broken
    assert any(name in " ".join(damaged.broken) for name in described.classes)
