from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from jetseg.data.dataset import open_split
from jetseg.errors import ArtifactError, ConfigError, ManifestError
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.models import create_model
from jetseg.network import Network, open_network, save_manifest
from jetseg.preprocess import Preprocessor
from jetseg.training.checkpoint import save_checkpoint
from jetseg.training.onnx_teacher import OnnxTeacher
from jetseg.training.open_teacher import open_teacher
from jetseg.training.resizing import resize_batch

FRAMES = torch.randint(0, 256, (3, 16, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
WEIGHT = np.random.default_rng(0).standard_normal((5, 3, 1, 1)).astype(np.float32)


def write_teacher(path, *, batch=1, size=(16, 24), kind="normalized", outputs=("logits",)):
    """Writes a 1x1 convolution from 3 to 5 channels: 3 classes, 1 void, 1 more."""
    if kind == "frame":
        graph_input = helper.make_tensor_value_info("frame", TensorProto.UINT8, [batch, *size, 3])
        before = [
            helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["image"], perm=[0, 3, 1, 2]),
        ]
    else:
        graph_input = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *size])
        before = []
    graph = helper.make_graph(
        [*before, *(helper.make_node("Conv", ["image", "w"], [name]) for name in outputs)],
        "teacher",
        [graph_input],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 5, *size]) for name in outputs],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def spec(**changes):
    return InputSpec(**{"height": 16, "width": 24, "scale": 1 / 127, "mean": (1.0, 0.9, 1.1), **changes})


def expected_logits(frames, input_spec):
    preprocess = Preprocessor(input_spec)
    values = np.concatenate([preprocess(frame) for frame in frames.numpy()])
    return np.einsum("oc,nchw->nohw", WEIGHT[:3, :, 0, 0], values)


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_an_onnx_teacher_sees_its_own_normalization(tmp_path, batch, color):
    path = tmp_path / "teacher.onnx"
    write_teacher(path, batch=batch)
    save_manifest(path, Manifest(classes=("a", "b", "c"), input=spec(color=color)))
    logits = open_teacher(path)(FRAMES).logits
    np.testing.assert_allclose(logits.numpy(), expected_logits(FRAMES, spec(color=color)), atol=1e-4)


def test_a_teacher_that_eats_frames(tmp_path):
    path = tmp_path / "teacher.onnx"
    write_teacher(path, kind="frame")
    frame_spec = spec(kind="frame", color="rgb", scale=1.0, mean=(0.0, 0.0, 0.0))
    save_manifest(path, Manifest(classes=("a", "b", "c"), input=frame_spec))
    expected = expected_logits(FRAMES, frame_spec.model_copy(update={"kind": "normalized"}))
    np.testing.assert_allclose(open_teacher(path)(FRAMES).logits.numpy(), expected, rtol=1e-4, atol=1e-2)


def test_a_fixed_size_is_met_by_resizing_and_a_free_one_is_left_alone(tmp_path):
    crops = FRAMES[:, :8, :12]
    for name, size in (("fixed.onnx", (16, 24)), ("free.onnx", ("h", "w"))):
        write_teacher(tmp_path / name, size=size)
        save_manifest(tmp_path / name, Manifest(classes=("a", "b", "c"), input=spec()))
    free = open_teacher(tmp_path / "free.onnx")(crops).logits
    np.testing.assert_allclose(free.numpy(), expected_logits(crops, spec(height=8, width=12)), atol=1e-4)
    fixed = open_teacher(tmp_path / "fixed.onnx")(crops).logits
    assert fixed.shape == (3, 3, 8, 12)
    # a linear network on linearly enlarged crops, shrunk again: close to the free one, but not equal
    error = (fixed - free).abs().mean() / free.abs().mean()
    assert 0.0 < error < 0.5


def test_the_manifest_may_lie_elsewhere_and_must_name_one_of_several_outputs(tmp_path):
    path = tmp_path / "teacher.onnx"
    write_teacher(path, outputs=("coarse", "fine"))
    with pytest.raises(ManifestError, match="has no manifest"):
        open_teacher(path)
    yaml = tmp_path / "teacher.yaml"
    text = "classes: [a, b, c]\ninput: {height: 16, width: 24}\n"
    yaml.write_text(text)
    with pytest.raises(ManifestError, match="coarse, fine"):
        open_teacher(path, yaml)
    yaml.write_text(text + "output: {name: fine}\n")
    assert open_teacher(path, yaml)(FRAMES).logits.shape == (3, 3, 16, 24)


def test_a_checkpoint_teaches_exactly_what_it_computes(tmp_path, manifest):
    torch.manual_seed(0)
    module = create_model("tiny", 3, width=8).eval()
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, module, manifest)
    teacher = open_teacher(path)
    logits = teacher(FRAMES).logits
    preprocess = Preprocessor(manifest.input.model_copy(update={"height": 16, "width": 24}))
    with torch.no_grad():
        expected = module(torch.from_numpy(np.concatenate([preprocess(f) for f in FRAMES.numpy()])))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert not logits.requires_grad
    with pytest.raises(ConfigError, match="brings its own manifest"):
        open_teacher(path, tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"output": {"kind": "classmap"}}, "ids are integers"),
        ({"classes": tuple("abcdef")}, "5 channels are fewer than its classes"),
    ],
)
def test_what_cannot_teach_is_refused(tmp_path, changes, reason):
    path = tmp_path / "teacher.onnx"
    write_teacher(path)
    save_manifest(path, Manifest(**{"classes": ("a", "b", "c"), "input": spec(), **changes}))
    with pytest.raises(ManifestError, match=reason):
        open_teacher(path)


def test_a_class_map_teaches_nothing(tmp_path):
    described = Manifest(classes=("a", "b", "c"), input=spec(), output={"kind": "classmap"})
    with pytest.raises(ArtifactError, match="gives a class map"):
        OnnxTeacher(Network(tmp_path / "teacher.onnx", described, "0" * 64))


def test_a_teacher_that_was_replaced_since_it_was_opened(tmp_path):
    write_teacher(tmp_path / "teacher.onnx")
    save_manifest(tmp_path / "teacher.onnx", Manifest(classes=("a", "b", "c"), input=spec()))
    opened = replace(open_network(tmp_path / "teacher.onnx"), sha256="0" * 64)
    with pytest.raises(ArtifactError, match="is not the file that was checked"):
        open_teacher(opened)


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"neither a checkpoint .* nor an ONNX file"):
        open_teacher(tmp_path / "teacher.pt")


def test_frames_of_the_right_size_are_untouched():
    assert resize_batch(FRAMES, 16, 24) is FRAMES
    assert resize_batch(FRAMES, 32, 48).shape == (3, 32, 48, 3)


def test_a_real_teacher_is_right_about_real_frames(tmp_path, shared_dir):
    manifest_file = tmp_path / "teacher.yaml"
    manifest_file.write_text(
        "classes: [sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]\n"
        "ignore_index: 11\n"
        "input: {height: 360, width: 480, mean: [127, 127, 127], std: [128, 128, 128]}\n"
    )
    teacher = open_teacher(shared_dir / "models" / "camvid_teacher" / "teacher_camvid_480x360.onnx", manifest_file)
    dataset = open_split(f"camvid:{shared_dir / 'data' / 'camvid'}", "val")
    confusion = ConfusionMatrix(dataset.classes, dataset.ignore_index)
    for index in range(0, len(dataset), 10):
        sample = dataset[index]
        logits = teacher(torch.from_numpy(sample.image_hwc_u8)[None]).logits
        confusion.update(sample.label_hw_u8, logits[0].argmax(0).numpy().astype(np.uint8))
    assert teacher.manifest.classes == dataset.classes
    # measured on all 101 frames: 72.55; on these 11 it differs a little
    assert confusion.score().miou == pytest.approx(72.55, abs=4)
