"""The gate, with engines that are made to be wrong in a certain way."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetseg.data.dataset import open_dataset
from jetseg.engine.accuracy_gate import AccuracyGate
from jetseg.engine.config import Budget
from jetseg.engine.engine import Engine
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import open_network, save_manifest

HEIGHT, WIDTH, CLASSES = 20, 30, ("dark", "light")
WIDE = {"max_drop": 100.0, "max_class_drop": 100.0}


def write_network(folder, shift):
    """Scores (0, red + shift): what is brighter than -shift is light."""
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[1, 0] = 1
    weights = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32([0, shift]), "b")]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, channels, HEIGHT, WIDTH))
        for name, channels in (("image", 3), ("logits", 2))
    ]
    graph = helper.make_graph([helper.make_node("Conv", ["image", "w", "b"], ["logits"])], "g", *zip(ports), weights)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    save_manifest(path, Manifest(classes=CLASSES, input=InputSpec(height=HEIGHT, width=WIDTH)))
    return open_network(path)


@pytest.fixture(params=[True, False], ids=["labels", "no labels"])
def data(request, tmp_path):
    import cv2

    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / "classes.yaml").write_text("classes: [dark, light]\n")
    for index in range(3):
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        label = (rng.random((HEIGHT, WIDTH)) > 0.5).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "labels" / f"{index}.png"), label)
    if not request.param:
        shutil.rmtree(tmp_path / "data" / "labels")
    return open_dataset(f"folder:{tmp_path / 'data'}").split("all")


class Changed:
    """A runner whose logits are changed on their way out."""

    def __init__(self, runner, change):
        self.manifest, self._runner, self._change = runner.manifest, runner, change

    def infer(self, network_input):
        return self._change(np.array(self._runner.infer(network_input)))

    def close(self):
        self._runner.close()


def judged(folder, data, change, shift=-127.5, **budget):
    from jetseg.engine.onnxruntime.runner import OnnxRunner

    network = write_network(folder, shift)
    gate = AccuracyGate(network, data, Budget(**budget))
    with Engine(Changed(OnnxRunner(network.path, network.manifest, 1), change)) as engine:
        return gate.judge(engine, "engine")


def swap_every(step):
    def change(logits):
        flat = logits.reshape(2, -1)
        flat[:, ::step] = flat[::-1, ::step]
        return flat.reshape(logits.shape)

    return change


def test_pixels_that_change_class_are_counted_with_labels_and_without(tmp_path, data):
    # labels are noise, so that a pixel in ten of another class moves mIoU by next to nothing
    result = judged(tmp_path, data, swap_every(10), **WIDE)
    assert result.agreement.percent == pytest.approx(90.0)
    assert len(result.violations) == 1
    assert result.violations[0].startswith("90.00 % of the pixels get the float network's class (at least 97)")
    labelled = data[0].label_hw_u8 is not None
    assert (result.before is not None, result.after is not None) == (labelled, labelled)
    assert judged(tmp_path, data, swap_every(50), **WIDE).violations == ()
    assert judged(tmp_path, data, swap_every(10), min_agreement=89, **WIDE).violations == ()


@pytest.mark.parametrize(("channel", "name"), [(0, "dark"), (1, "light")])
def test_one_class_everywhere_never_passes(tmp_path, data, channel, name):
    def change(logits):
        logits[:, channel] = 1e6
        return logits

    result = judged(tmp_path, data, change, min_agreement=0, **WIDE)
    assert result.violations == (f"the engine gives {name} at every pixel, where the float network gives dark, light",)


def test_void_everywhere_never_passes(tmp_path, data):
    def with_void(logits):
        return np.concatenate([logits, np.full_like(logits[:, :1], 1e6)], axis=1)

    result = judged(tmp_path, data, with_void, min_agreement=0, **WIDE)
    assert "the engine gives (void) at every pixel" in result.violations[0]


def test_one_class_is_no_fault_where_the_float_network_has_no_other(tmp_path, data):
    assert judged(tmp_path, data, lambda logits: logits, shift=1.0, **WIDE).violations == ()


def test_the_float_network_is_run_once(tmp_path, data, monkeypatch):
    from jetseg.engine import accuracy_gate

    opened = []
    honest = accuracy_gate.open_engine
    monkeypatch.setattr(accuracy_gate, "open_engine", lambda *args, **kinds: opened.append(1) or honest(*args, **kinds))
    gate = AccuracyGate(write_network(tmp_path, -127.5), data, Budget())
    assert gate.judge_as_float().agreement.percent == 100.0
    with honest(open_network(tmp_path / "net.onnx")) as engine:
        assert gate.judge(engine, "engine").violations == ()
    assert len(opened) == 1
