import onnx
import pytest
from small_network import write_dataset, write_small_network

from jetseg.calibrate.calibration import CalibrateConfig, run
from jetseg.calibrate.legality import check_qdq
from jetseg.calibrate.tensorrt_cache import parse_cache
from jetseg.engine.opening import open_runner
from jetseg.engine.rendering import write_cache, write_qdq
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.manifest import load_manifest


@pytest.fixture
def calibrated(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=12)
    out = tmp_path / "r.json"
    return model, out, run(CalibrateConfig(model=model, data=data, split="all", placement="full", out=out))


@pytest.mark.parametrize("placement", [None, "conv-inputs"])
def test_the_rendered_network_is_legal_and_describes_itself(calibrated, tmp_path, placement):
    model, ranges_file, _ = calibrated
    manifest = write_qdq(model, ranges_file, tmp_path / "q.onnx", placement=placement)
    assert check_qdq(onnx.load(tmp_path / "q.onnx")) == []
    assert manifest == load_manifest(tmp_path / "q.onnx")
    assert manifest.stages[-1].settings["placement"] == (placement or "full")


def test_the_cache_of_each_version_reads_back_to_the_same_ranges(calibrated, tmp_path):
    model, ranges_file, ranges = calibrated
    for version in ("10.3", "10.16"):
        write_cache(model, ranges_file, tmp_path / "c", version)
        cache = parse_cache((tmp_path / "c").read_text())
        assert cache.version.startswith(version)
        assert cache.amax == pytest.approx({name: entry.amax for name, entry in ranges.tensors.items()}, rel=1e-6)


def test_the_simulation_runs_what_is_rendered(calibrated, tmp_path):
    import numpy as np

    from jetseg.ort import make_session

    model, ranges_file, _ = calibrated
    write_qdq(model, ranges_file, tmp_path / "q.onnx")
    image = np.random.default_rng(0).uniform(-2, 2, (1, 3, 24, 32)).astype(np.float32)
    session = make_session(tmp_path / "q.onnx", optimize=False)
    exact = session.run(None, {"image": image})[0]
    np.testing.assert_array_equal(simulate_tensorrt(model, ranges_file).infer(image), exact)
    np.testing.assert_array_equal(open_runner(tmp_path / "q.onnx").infer(image), exact)
