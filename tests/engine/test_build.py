import onnx
import pytest
from small_network import edit_manifest, forget_hash, write_dataset, write_small_network

from jetseg.data.dataset import open_split
from jetseg.engine.engine import open_engine
from jetseg.errors import ArtifactError, CalibrationError, ConfigError, ManifestError
from jetseg.manifest_file import manifest_path, read_manifest, write_manifest
from jetseg.network import load_manifest
from jetseg.registry import BACKENDS
from jetseg.storage import sha256_file
from jetseg.workflows.building import build_engine


@pytest.fixture
def model(tmp_path):
    return write_small_network(tmp_path)


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data")


def build(model, data, **changes):
    settings = {"data": data, "split": "all", "eval_split": "all", "images": 4, "out": model.parent / "small.int8.onnx"}
    return build_engine(model, **{**settings, **changes})


def test_an_int8_engine_agrees_with_its_parent_and_tells_its_history(model, data):
    result = build(model, data)
    manifest = load_manifest(result.path)
    assert manifest.precision == "int8"
    assert manifest.backend == "onnxruntime"
    assert manifest.parent_sha256 == sha256_file(model)
    assert manifest.calibration_sha256 == sha256_file(result.path.with_name("small.int8.onnx.ranges.json"))
    assert manifest.accuracy == (result.accuracy,)
    assert manifest.stages[-1].settings["method"] == "mse"
    assert result.report.integer_layers == ("n1", "c2", "c3")
    assert result.report.float_layers == ("c4",)
    dataset = open_split(data, "all")
    parent, engine = open_engine(model).segment, open_engine(result.path).segment
    agreement = [(parent(s.image_hwc_u8) == engine(s.image_hwc_u8)).mean() for s in (dataset[0], dataset[5])]
    assert min(agreement) > 0.93


def test_fp32_is_the_parent_itself(model, data):
    result = build(model, data, precision="fp32")
    assert result.accuracy == result.parent_accuracy
    assert result.manifest.calibration_sha256 is None


def test_a_ranges_file_of_another_network_is_refused_and_the_earlier_engine_stays(model, data, tmp_path):
    engine = build(model, data).path
    before = engine.read_bytes(), manifest_path(engine).read_bytes()
    (tmp_path / "other").mkdir()
    other = write_small_network(tmp_path / "other", seed=1)
    stale = engine.with_name("small.int8.onnx.ranges.json")
    with pytest.raises(CalibrationError, match="another network"):
        build(other, data, ranges=stale, out=engine)
    assert (engine.read_bytes(), manifest_path(engine).read_bytes()) == before


def test_int8_without_ranges_or_data_says_what_to_give(model):
    with pytest.raises(ConfigError, match="`calibration`, or `data`"):
        build_engine(model)


def test_a_network_is_not_overwritten_by_its_engine(model, data):
    with pytest.raises(ConfigError, match="another `out`"):
        build(model, data, out=model)


def test_precisions_and_backends_that_are_not_there(model, data):
    with pytest.raises(ConfigError, match="fp16"):
        build(model, data, precision="fp16")
    with pytest.raises(ConfigError, match=", ".join(BACKENDS.names())):
        build(model, data, backend="nonsense")


def test_truncated_engine_and_missing_manifest(model, data):
    engine = build(model, data).path
    engine.write_bytes(engine.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="truncated, damaged or replaced"):
        open_engine(engine)
    manifest_path(engine).unlink()
    with pytest.raises(ManifestError, match="has no manifest"):
        open_engine(engine)


def test_external_data_must_be_there_and_inside_the_folder(model, tmp_path):
    network = onnx.load(str(model))
    onnx.save(network, str(model), save_as_external_data=True, location="weights.bin", size_threshold=100)
    forget_hash(model)
    open_engine(model).close()
    (tmp_path / "weights.bin").rename(tmp_path / "gone.bin")
    with pytest.raises(ArtifactError, match=r"weights\.bin, and that file is not beside it"):
        open_engine(model)
    network = onnx.load(str(model), load_external_data=False)
    for tensor in network.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    onnx.save(network, str(model))
    with pytest.raises(ArtifactError, match="outside its own folder"):
        open_engine(model)


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x0a"])
def test_a_file_that_is_no_network(model, content):
    forget_hash(model)
    model.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"small\.onnx"):
        open_engine(model)


def test_a_graph_with_several_outputs_asks_which(model):
    network = onnx.load(str(model))
    network.graph.output.append(onnx.helper.make_tensor_value_info("c4", 1, None))
    onnx.save(network, str(model))
    forget_hash(model)
    with pytest.raises(ManifestError, match="2 outputs: logits, c4"):
        open_engine(model)
    network = read_manifest(manifest_path(model), model)
    write_manifest(manifest_path(model), network.with_output(kind="logits", name="logits"))
    open_engine(model).close()


def test_a_manifest_with_another_size_is_refused(model):
    edit_manifest(model, lambda content: content["input"].update(height=48))
    with pytest.raises(ManifestError, match=r"\[1, 3, 48, 32\]"):
        open_engine(model)


def test_given_sixty_frames_an_engine_learns_to_estimate_unless_told_not_to(tmp_path, monkeypatch):
    monkeypatch.setattr("jetseg.evaluation.learning.SEVERITIES", (3,))
    network, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=60)
    settings = {"data": data, "precision": "fp32", "split": "all", "eval_split": "all", "images": 8, "eval_frames": 4}
    built = build_engine(network, **settings, out=tmp_path / "a.onnx")
    assert built.manifest.estimator.windows == 2 + 10
    assert load_manifest(built.path) == built.manifest
    assert build_engine(network, **settings, out=tmp_path / "b.onnx", estimate=False).manifest.estimator is None
