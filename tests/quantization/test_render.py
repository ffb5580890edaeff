import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_network import write_dataset, write_small_network

from jetseg.data.dataset import Dataset, open_split
from jetseg.engine.engine import open_engine
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.network import open_network
from jetseg.onnx.session import make_session
from jetseg.preprocess import Preprocessor
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.qdq.schemes import Scheme
from jetseg.quantization.render import write_cache, write_qdq
from jetseg.quantization.tensorrt.cache import parse_cache
from jetseg.quantization.tensorrt.rules import check_qdq


@pytest.fixture
def calibrated(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=12)
    config = CalibrateConfig(split="all", placement="full")
    return calibrate(open_network(model), Dataset(data), config, tmp_path / "r.json")


@pytest.mark.parametrize("placement", [None, "conv-inputs"])
def test_the_rendered_network_is_legal_and_describes_itself(calibrated, tmp_path, placement):
    rendered = write_qdq(calibrated, tmp_path / "q.onnx", placement=placement)
    assert check_qdq(onnx.load(tmp_path / "q.onnx")) == []
    assert rendered == open_network(tmp_path / "q.onnx")
    assert rendered.manifest.stages[-1].settings["placement"] == (placement or "full")


def test_the_cache_of_each_version_reads_back_to_the_same_ranges(calibrated, tmp_path):
    for version in ("10.3", "10.16"):
        write_cache(calibrated, tmp_path / "c", version)
        cache = parse_cache((tmp_path / "c").read_text())
        assert cache.version.startswith(version)
        assert cache.amax == pytest.approx({name: entry.amax for name, entry in calibrated.tensors.items()}, rel=1e-6)


def test_the_simulation_runs_what_is_rendered(calibrated, tmp_path):
    write_qdq(calibrated, tmp_path / "q.onnx")
    image = np.random.default_rng(0).uniform(-2, 2, (1, 3, 24, 32)).astype(np.float32)
    session = make_session(tmp_path / "q.onnx", optimize=False)
    exact = session.run(None, {"image": image})[0]
    np.testing.assert_array_equal(simulate_tensorrt(calibrated).infer(image), exact)
    np.testing.assert_array_equal(open_engine(tmp_path / "q.onnx").infer(image), exact)


def test_more_bits_and_zero_points_come_nearer_to_the_float_network(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)
    config = CalibrateConfig(split="all", preset="fast", method="minmax")
    ranges = calibrate(open_network(model), Dataset(data), config, tmp_path / "r.json")
    image = Preprocessor(ranges.network.manifest.input)(open_split(data, "all")[0].image_hwc_u8)
    wanted = open_engine(model).infer(image)

    def noise(scheme: Scheme) -> float:
        out = tmp_path / f"{scheme.bits}{scheme.symmetric}.onnx"
        rendered = write_qdq(ranges, out, placement="full", scheme=scheme)
        assert rendered.manifest.precision == f"int{scheme.bits}"
        onnx.checker.check_model(onnx.load(out))
        return float(np.square(open_engine(out).infer(image) - wanted).mean() / np.square(wanted).mean())

    assert noise(Scheme(16)) < 1e-3 * noise(Scheme(8))
    assert noise(Scheme(16, symmetric=False)) < 1e-3 * noise(Scheme(8, symmetric=False))
    assert noise(Scheme(8, symmetric=False)) < noise(Scheme(8))


def test_types_of_the_rendered_quantizers(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=4)
    ranges = calibrate(
        open_network(model), Dataset(data), CalibrateConfig(split="all", preset="fast"), tmp_path / "r.json"
    )
    for scheme, activation, weight in (
        (Scheme(), np.int8, np.int8),
        (Scheme(8, symmetric=False), np.uint8, np.int8),
        (Scheme(16), np.int16, np.int16),
        (Scheme(16, symmetric=False), np.uint16, np.int16),
    ):
        write_qdq(ranges, tmp_path / "q.onnx", scheme=scheme)
        found = {
            tensor.name: numpy_helper.to_array(tensor).dtype
            for tensor in onnx.load(tmp_path / "q.onnx").graph.initializer
            if tensor.name.endswith(".zero_point")
        }
        assert {dtype for name, dtype in found.items() if ".weight." in name} == {np.dtype(weight)}
        assert {dtype for name, dtype in found.items() if ".weight." not in name} == {np.dtype(activation)}
