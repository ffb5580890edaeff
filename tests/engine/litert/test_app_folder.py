import json

import cv2
import numpy as np
import pytest
from test_litert import build
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.engine.engine import open_engine
from jetseg.engine.litert.library import open_interpreter
from jetseg.errors import ArtifactError, ConfigError, ManifestError
from jetseg.network import open_network
from jetseg.preprocess import Preprocessor
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.kits import pack, pack_app, verify
from jetseg.workflows.sealing import seal

pytestmark = pytest.mark.usefixtures("converted")


@pytest.mark.parametrize("integers", ["inner", "ends"])
def test_an_app_that_follows_the_folder_gets_the_golden_class_maps(model, data, tmp_path, integers):
    engine, out = build(model, data, options={"integers": integers}).path, tmp_path / "app"
    words = ["pack", str(engine), "--target", "litert", "--data", data, "--split", "all", "--frames", "2"]
    result = CliRunner().invoke(app, [*words, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frames"] == 2
    feeding = json.loads((out / "preprocessing.json").read_text())
    assert (out / "labels.txt").read_text().split() == feeding["classes"] == ["road", "car", "sky"]
    one, end = open_interpreter((out / "model.tflite").read_bytes(), "packed"), feeding["input"]
    for picture in sorted((out / "golden").glob("00?.png")):
        frame = cv2.imread(str(picture))[..., ::-1]  # rgb
        assert end["color"] == "rgb"
        values = cv2.resize(frame, (end["width"], end["height"])) * end["pixel_scale"]
        values = ((values - end["mean"]) / end["std"]).astype(np.float32)[None]
        if end["scale"]:
            values = np.clip(np.rint(values / np.float32(end["scale"])) + end["zero_point"], -128, 127).astype(np.int8)
        assert values.dtype == end["type"]
        golden = np.frombuffer(picture.with_suffix(".input.bin").read_bytes(), end["type"]).reshape(end["shape"])
        np.testing.assert_allclose(values, golden, atol=1e-5)
        one.set_tensor(one.get_input_details()[0]["index"], golden)
        one.invoke()
        scores = one.get_tensor(one.get_output_details()[0]["index"])
        assert scores.tobytes() == picture.with_suffix(".output.bin").read_bytes()
        expected = cv2.imread(str(picture.with_suffix(".classes.png")), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(scores[0].argmax(-1), expected)


def test_only_a_litert_engine_makes_an_app_folder(model, data, tmp_path):
    words = ["pack", str(model), "--target", "litert", "--data", data, "--out", str(tmp_path / "a")]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ArtifactError)
    assert "is no LiteRT engine" in str(result.exception)
    assert not (tmp_path / "a").exists()


def test_an_app_is_told_which_values_of_deeper_frames_count(converted, model, data, tmp_path):
    place = write_keras_file(converted, model, tmp_path / "ct.tflite", frames={"low": -160, "high": 240})
    pack_app(place, data=data, split="all", frames=1, out=tmp_path / "app")
    feeding = json.loads((tmp_path / "app" / "preprocessing.json").read_text())
    assert feeding["input"]["window"] == {"low": -160.0, "high": 240.0}


def test_depth_makes_no_app_folder(converted, model, data, tmp_path):
    place = write_keras_file(converted, model, tmp_path / "depth.tflite")
    described = json.loads(place.with_name("depth.tflite.json").read_text())
    described = {"kind": "engine", "backend": "litert", "input": described["input"], "outputs": [{"task": "depth"}]}
    place.with_name("depth.tflite.json").write_text(json.dumps(described))
    seal(place)
    with pytest.raises(ConfigError, match="one map of classes, and this one has depth"):
        pack_app(place, data=data, split="all", out=tmp_path / "app")


def write_keras_file(content, model, place, **changes):
    """Writes a LiteRT file of somebody else, with a manifest by hand."""
    place.write_bytes(content)
    spec = open_network(model).manifest.input.model_dump(mode="json")
    described = {"kind": "engine", "backend": "litert", "classes": ["road", "car", "sky"]}
    described |= {"input": {**spec, "layout": "nhwc", **changes}, "output": {"kind": "logits", "layout": "nhwc"}}
    place.with_name(f"{place.name}.json").write_text(json.dumps(described))
    seal(place)
    return place


def test_a_file_of_keras_runs_with_a_manifest_that_says_how_its_images_lie(converted, model, tmp_path):
    place = write_keras_file(converted, model, tmp_path / "keras.tflite")
    frame = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    with open_engine(place) as engine, open_engine(model) as parent:
        np.testing.assert_array_equal(engine.segment(frame), parent.segment(frame))
        assert Preprocessor(engine.manifest.input)(frame).shape == (1, 24, 32, 3)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"height": 25}, r"float32 of shape \[1, 25, 32, 3\]"),
        ({"color": "gray", "mean": [0.5], "std": [0.25]}, r"float32 of shape \[1, 24, 32, 1\]"),
        ({"kind": "frame"}, r"uint8 of shape \[1, 24, 32, 3\]"),
    ],
)
def test_a_manifest_of_another_input_is_refused_when_the_file_is_opened(converted, model, tmp_path, changes, wanted):
    place = write_keras_file(converted, model, tmp_path / "keras.tflite", **changes)
    with pytest.raises(
        ManifestError, match=rf"is float32 of shape \[1, 24, 32, 3\], but by the manifest it is {wanted}"
    ):
        open_engine(place)


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "saved"])
def test_a_model_of_keras_is_refused_with_the_way_out(tmp_path, name):
    place = tmp_path / name
    if name == "saved":
        place.mkdir()
        (place / "saved_model.pb").touch()
    else:
        place.touch()
    with pytest.raises(ArtifactError, match="Export it to ONNX"):
        open_network(place)


def test_a_kit_is_verified_with_litert(model, data, tmp_path):
    ranges = calibrate(model, data=data, split="all", images=4, preset="fast", out=tmp_path / "small.ranges.json")
    tolerance = {"min_agreement": 80, "max_drop": 50, "max_class_drop": 90}
    kit = pack(model, data=data, ranges=ranges, out=tmp_path / "small.kit.zip", split="all", frames=2, **tolerance).kit
    result = verify(kit, backend="litert", out=tmp_path / "small.tflite")
    assert result.comparison.violations == ()
    assert open_network(tmp_path / "small.tflite").manifest.precision == "int8"
