"""A network that other people trained, on real frames: packed, verified, damaged."""

import onnx
import pytest
from onnx import numpy_helper

from jetseg.network import load_manifest, open_network, save_manifest
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.kits import pack, verify


@pytest.mark.long
def test_espnet_travels_and_damage_is_found(shared_dir, espnet, tmp_path):
    model, manifest = espnet
    network, data = open_network(model, manifest), f"camvid:{shared_dir / 'data' / 'camvid'}"
    ranges = calibrate(network, data=data, images=8, preset="fast", out=tmp_path / "r.json")
    kit = pack(network, ranges=ranges, data=data, frames=4, out=tmp_path / "espnet.kit.zip").kit
    result = verify(kit, out=tmp_path / "espnet.int8.onnx")
    assert result.comparison.violations == ()
    assert result.comparison.agreement > 98.5
    assert result.comparison.before.miou > 60
    assert abs(result.comparison.after.miou - result.comparison.before.miou) < 1

    engine = result.engine
    model = onnx.load(str(engine))
    first = next(node for node in model.graph.node if "Conv" in node.op_type)
    broken = next(tensor for tensor in model.graph.initializer if tensor.name in first.input and len(tensor.dims) == 4)
    broken.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(broken), broken.name))
    described = load_manifest(engine)
    onnx.save(model, str(engine))
    save_manifest(engine, described)
    damaged = verify(kit, engine=engine).comparison
    assert damaged.agreement < result.comparison.agreement
    assert damaged.violations
    assert any(name in " ".join(damaged.violations) for name in described.classes)
