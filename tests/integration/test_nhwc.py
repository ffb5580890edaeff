"""Networks as TensorFlow and Keras have them: channels last, in and out; sizes of tensors often open."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_network import CLASSES, HEIGHT, WIDTH, small_manifest, small_network, write_dataset

from jetseg.config import changed
from jetseg.data.dataset import open_dataset
from jetseg.engine.engine import open_engine
from jetseg.errors import ManifestError
from jetseg.network import open_network, save_manifest
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.evaluating import evaluate

LOOSE = {"max_drop": 10, "max_class_drop": 20, "min_agreement": 90}


def channels_last(*, open_sizes: bool) -> onnx.ModelProto:
    """The small network between two transpositions, as converters write it."""
    model = small_network()
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["image.nchw" if name == "image" else name for name in node.input]
        node.output[:] = ["logits.nchw" if name == "logits" else name for name in node.output]
    graph.node.insert(0, helper.make_node("Transpose", ["image"], ["image.nchw"], perm=[0, 3, 1, 2]))
    graph.node.append(helper.make_node("Transpose", ["logits.nchw"], ["logits"], perm=[0, 2, 3, 1]))
    shapes = {"image": [1, HEIGHT, WIDTH, 3], "logits": [1, HEIGHT, WIDTH, len(CLASSES)]}
    if open_sizes:
        shapes["logits"] = ["batch", "height", "width", "channels"]
    for value in (*graph.input, *graph.output):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shapes[value.name]))
    return model


def write(folder, *, open_sizes: bool = False, layout_in: str = "nhwc", layout_out: str = "nhwc"):
    path = folder / "last.onnx"
    onnx.save(channels_last(open_sizes=open_sizes), str(path))
    manifest = small_manifest()
    described = {
        "input": changed(manifest.input, layout=layout_in),
        "outputs": (changed(manifest.output, layout=layout_out),),
    }
    save_manifest(path, manifest.changed(**described))
    return path


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data")


@pytest.mark.parametrize("open_sizes", [False, True])
def test_the_whole_chain_gives_what_the_same_network_gives_with_channels_second(tmp_path, data, open_sizes):
    plain = tmp_path / "plain.onnx"
    onnx.save(small_network(), str(plain))
    save_manifest(plain, small_manifest())
    path = write(tmp_path, open_sizes=open_sizes)
    found = evaluate(path, data=data, split="all", reference=plain)
    assert found.agreement.percent == 100.0
    ranges = calibrate(path, data=data, split="all", out=tmp_path / "r.json", preset="fast")
    built = build_engine(path, ranges=ranges, data=data, eval_split="all", out=tmp_path / "e.onnx", **LOOSE)
    assert built.report.integer_layers
    simulated = evaluate(path, data=data, split="all", simulate="tensorrt", ranges=ranges)
    assert simulated.agreement.percent > 97
    with open_engine(built.path) as engine, open_engine(plain) as float_network:
        for index in range(3):
            frame = open_dataset(data).split("all")[index].image_hwc_u8
            ids = engine.segment(frame)
            assert ids.shape == (HEIGHT, WIDTH)
            assert np.mean(ids == float_network.segment(frame)) > 0.9


def test_a_wrong_layout_names_the_key_when_the_network_is_opened(tmp_path):
    with pytest.raises(ManifestError, match=r"channels: set `layout: nhwc` for the manifest's output"):
        open_network(write(tmp_path, layout_out="nchw"))
    with pytest.raises(ManifestError, match=r"Set `layout: nhwc` for the manifest's input"):
        open_network(write(tmp_path, layout_in="nchw"))


def test_open_sizes_are_checked_by_the_first_inference(tmp_path, data):
    path = write(tmp_path, open_sizes=True, layout_out="nchw")
    with pytest.raises(ManifestError, match=r"set `layout: nhwc`"):
        evaluate(path, data=data, split="all")
    for preset in ("fast", "accurate"):
        with pytest.raises(ManifestError, match=r"set `layout: nhwc`"):
            calibrate(path, data=data, split="all", out=tmp_path / "r.json", preset=preset)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.slow
def test_training_in_eight_bits_sees_channels_second(tmp_path, data):
    pytest.importorskip("torch")
    from jetseg.workflows.qat import quantization_aware_train

    path = write(tmp_path)
    ranges = calibrate(path, data=data, split="all", out=tmp_path / "r.json", preset="fast")
    settings = {"split": "all", "eval_split": "all", "epochs": 1, "batch_size": 2, "labels": False}
    trained = quantization_aware_train(path, data=data, ranges=ranges, out=tmp_path / "q.onnx", **settings)
    found = evaluate(trained.qdq.path, data=data, split="all", reference=path)
    assert found.agreement.percent > 90


def test_a_teacher_may_have_its_channels_last(tmp_path):
    torch = pytest.importorskip("torch")
    from jetseg.training.open_teacher import open_teacher

    frames = torch.tensor(np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8))
    plain = tmp_path / "plain.onnx"
    onnx.save(small_network(), str(plain))
    save_manifest(plain, small_manifest())
    expected = open_teacher(plain)(frames).logits
    torch.testing.assert_close(open_teacher(write(tmp_path))(frames).logits, expected, atol=1e-4, rtol=1e-4)


def test_the_case_that_passed_the_gate_as_void(tmp_path, shared_dir):
    case = shared_dir / "cases" / "nhwc.onnx"
    with pytest.raises(ManifestError, match=r"\[1, 90, 120, 11\].*`layout: nhwc`"):
        open_network(case)
    path = tmp_path / "nhwc.onnx"
    path.write_bytes(case.read_bytes())
    path.with_name("nhwc.onnx.json").write_text((case.with_name("nhwc.onnx.json")).read_text())
    content = path.with_name("nhwc.onnx.json")
    content.write_text(content.read_text().replace('"logits"', '"logits", "layout": "nhwc"'))
    frame = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    with open_engine(path) as engine:
        assert engine.segment(frame).shape == (90, 120)
        assert engine.segment(frame).max() < 11
