import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_manifest, small_network, write_dataset, write_small_network
from symmetric_qdq import quantize_symmetric

from jetseg.compress.qat import loop, training
from jetseg.compress.qat.config import QatConfig
from jetseg.compress.qat.crops import CropNetwork, open_trainable
from jetseg.compress.qat.module import OnnxModule
from jetseg.compress.qat.training import train_quantized
from jetseg.data.dataset import open_dataset
from jetseg.errors import ArtifactError, ConfigError, TrainingDivergedError
from jetseg.network import load_manifest, open_network, save_manifest
from jetseg.onnx.session import make_session
from jetseg.preprocess import Preprocessor


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def frames_input():
    frame = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return {"image": Preprocessor(small_manifest().input)(frame)}


@dataclass
class Run:
    """What one run is given."""

    qdq: Path
    data: str
    parent: Path | None
    config: QatConfig
    out: Path


def run(given):
    """Trains, and returns the Q/DQ file."""
    teacher = None if given.parent is None else open_network(given.parent)
    data = open_dataset(given.data)
    return train_quantized(open_network(given.qdq), data, given.config, given.out, teacher=teacher).qdq.path


@pytest.fixture
def make(tmp_path):
    """Makes a run that starts from a coarsely quantized network; keyword arguments win."""
    parent = write_small_network(tmp_path)
    data = write_dataset(tmp_path / "data")
    qdq = tmp_path / "small.qdq.onnx"
    model = quantize_symmetric(onnx.load(parent), frames_input())
    for tensor in model.graph.initializer:
        if tensor.name in ("r1.scale", "both.scale", "r3.scale"):  # ranges far too wide: something to win
            tensor.CopyFrom(numpy_helper.from_array(16 * numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, str(qdq))
    save_manifest(qdq, small_manifest().model_copy(update={"precision": "int8"}))

    def settings(out=tmp_path / "out.onnx", parent=parent, **changes):
        chosen = {
            "split": "all",
            "eval_split": "all",
            "epochs": 4,
            "batch_size": 3,
            "lr": 2e-3,
            "scale_lr": 0.1,
            "ema_decay": 0.5,
            "accelerator": "cpu",
            "augment": {"scale": (0.9, 1.2)},
            **changes,
        }
        return Run(qdq, data, parent, QatConfig(**chosen), out)

    return settings


def initializers(path):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def history(path):
    return load_manifest(path).stages[-1].settings["history"]


def test_distillation_alone_wins_back_agreement_and_writes_a_sound_graph(make):
    config = make(labels=False, epochs=8)
    shutil.rmtree(config.qdq.parent / "data" / "labels")
    out = run(config)
    rows = history(out)
    assert [row["epoch"] for row in rows] == list(range(9))
    assert rows[-1]["loss"] < 0.6 * rows[1]["loss"]
    agreement = [row["val_agreement"] for row in rows]
    assert max(agreement) > agreement[0] + 3
    manifest = load_manifest(out)
    assert manifest.parity.argmax_agreement == pytest.approx(max(agreement) / 100)
    assert manifest.parent_sha256 == load_manifest(config.qdq).sha256
    assert (manifest.kind, manifest.precision, manifest.stages[-1].name) == ("onnx", "int8", "qat")
    assert manifest.stages[-1].settings["best_epoch"] == int(np.argmax(agreement))
    before, after = initializers(config.qdq), initializers(out)
    assert before.keys() == after.keys()
    for name, values in after.items():
        if name.endswith(".zero_point"):
            assert values.dtype == np.int8
            assert not values.any()
        elif name.endswith(".scale"):
            assert (values > 0).all()
    for name in ("w1", "b2", "w4", "r1.scale", "c1.weight.scale"):
        assert not np.array_equal(before[name], after[name])
    for name in ("gamma", "mean", "scales"):
        assert np.array_equal(before[name], after[name])


@pytest.mark.long
def test_ranges_that_are_too_wide_come_in_within_a_short_run_by_the_default_rates(make):
    given = make(labels=False, epochs=40, lr=QatConfig().lr, scale_lr=QatConfig().scale_lr)
    out = run(given)
    rows = history(out)
    assert rows[-1]["val_agreement"] > rows[0]["val_agreement"] + 1
    before, after = initializers(given.qdq), initializers(out)
    for name in ("r1.scale", "both.scale", "r3.scale"):
        assert after[name] < 0.9 * before[name]  # 80 steps


def test_written_files_agree_with_each_other_and_with_torch(make):
    out = run(make(labels=False))
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    feeds = frames_input()
    (exact,) = make_session(out, optimize=False).run(None, feeds)
    with torch.no_grad():
        simulated = OnnxModule(model)(torch.from_numpy(feeds["image"])).numpy()
    np.testing.assert_allclose(simulated, exact, rtol=1e-4, atol=1e-4)
    twin_path = out.with_name("out.float.onnx")
    twin, parent = onnx.load(twin_path), small_network()
    onnx.checker.check_model(twin, full_check=True)
    assert [node.op_type for node in twin.graph.node] == [node.op_type for node in parent.graph.node]
    assert [list(node.input) for node in twin.graph.node] == [list(node.input) for node in parent.graph.node]
    assert np.array_equal(initializers(twin_path)["w1"], initializers(out)["w1"])
    assert initializers(twin_path).keys() == {tensor.name for tensor in parent.graph.initializer}
    manifest = load_manifest(twin_path)
    assert (manifest.precision, manifest.parity, manifest.accuracy) == ("fp32", None, ())
    ranges = json.loads(out.with_name("out.scales.json").read_text())
    assert ranges.keys() == {"image", "r1", "both", "r3"}
    for name, amax in ranges.items():
        assert amax == pytest.approx(127 * float(initializers(out)[f"{name}.scale"]), rel=1e-6)


def test_labels_choose_the_best_epoch_and_the_start_takes_part(make):
    config = make(parent=None, lr=1e-9, scale_lr=1e-9, epochs=1)
    out = run(config)
    rows = history(out)
    manifest = load_manifest(out)
    assert manifest.accuracy[0].miou == pytest.approx(max(row["val_miou"] for row in rows), abs=0.01)
    assert manifest.stages[-1].settings["best_epoch"] == 0
    assert {name: values.tolist() for name, values in initializers(out).items()} == {
        name: values.tolist() for name, values in initializers(config.qdq).items()
    }


def test_fixed_ranges_stay(make):
    config = make(labels=False, scales="fixed")
    before, after = initializers(config.qdq), initializers(run(config))
    assert all(
        np.array_equal(before[f"{name}.scale"], after[f"{name}.scale"]) for name in ("image", "r1", "both", "r3")
    )
    assert not np.array_equal(before["w2"], after["w2"])


def test_interrupted_run_ends_as_an_uninterrupted_one(make, monkeypatch, tmp_path):
    whole = run(make(out=tmp_path / "whole.onnx"))
    epochs = loop.QatTraining._epoch

    def interrupted(self, epoch, *rest):
        if epoch == 2:
            raise KeyboardInterrupt
        return epochs(self, epoch, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.QatTraining, "_epoch", interrupted)
        run(make())
    with pytest.raises(ConfigError, match="lr: 0.002 then, 0.5 now"):
        run(make(lr=0.5))
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="lr_unit: 'channel' then, 'absolute' now"):
        patch.setattr(training, "_LR_UNIT", "absolute")
        run(make())
    resumed = run(make())
    assert history(resumed) == history(whole)
    assert resumed.read_bytes() == whole.read_bytes()


def test_loss_that_is_no_number_stops_the_run(make, monkeypatch):
    monkeypatch.setattr(
        loop.QatTraining, "batch_loss", lambda self, batch: torch.tensor(float("nan"), requires_grad=True)
    )
    with pytest.raises(TrainingDivergedError, match="epoch 1, step 1"):
        run(make())


def test_crop_that_a_fixed_graph_cannot_take_is_explained():
    model = small_network()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 8, -1], np.int64), "flat"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 8, HEIGHT // 2, WIDTH // 2], np.int64), "back"))
    relu = next(node for node in model.graph.node if node.output[0] == "r1")
    relu.output[0] = "r0"
    position = list(model.graph.node).index(relu) + 1
    model.graph.node.insert(position, helper.make_node("Reshape", ["r0", "flat"], ["rows"], "rows"))
    model.graph.node.insert(position + 1, helper.make_node("Reshape", ["rows", "back"], ["r1"], "planes"))
    model = quantize_symmetric(model, frames_input())
    manifest = small_manifest()
    module, _ = open_trainable(model, manifest, "learned")
    device = torch.device("cpu")
    with pytest.raises(ConfigError, match=r"Crops of 12x16 do not fit .* 24x32: Node planes \(Reshape\)"):
        CropNetwork(module, manifest, (12, 16), device)
    student = CropNetwork(module, manifest, (HEIGHT, WIDTH), device)
    frames = torch.randint(0, 256, (3, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    with torch.no_grad():
        logits = student(frames)  # frame by frame, as the graph is fixed to a batch of 1
        assert torch.allclose(logits[1:2], student(frames[1:2]), atol=1e-6)
    assert logits.shape == (3, 3, HEIGHT, WIDTH)


def test_class_map_is_trained_by_the_logits_before_it():
    model = small_network()
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["ids"], axis=1, keepdims=0))
    model.graph.node.append(helper.make_node("Cast", ["ids"], ["classmap"], to=onnx.TensorProto.UINT8))
    shape = [1, HEIGHT, WIDTH]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("classmap", onnx.TensorProto.UINT8, shape))
    manifest = small_manifest()
    manifest = manifest.with_output(kind="classmap")
    module, as_trained = open_trainable(quantize_symmetric(model, frames_input()), manifest, "learned")
    assert (as_trained.output.name, as_trained.output.kind) == ("logits", "logits")
    with torch.no_grad():
        assert module(torch.zeros(1, 3, HEIGHT, WIDTH)).shape == (1, 3, HEIGHT, WIDTH)


def test_float_network_is_refused():
    with pytest.raises(ArtifactError, match="no quantizers to train under"):
        open_trainable(small_network(), small_manifest(), "learned")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": False, "parent": None}, "Without `labels` there must be a teacher"),
        ({"out": Path("x.safetensors")}, "`out` must end in .onnx"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, changes, reason):
    with pytest.raises(ConfigError, match=reason):
        run(make(**changes))


def test_what_is_read_is_never_overwritten(make, tmp_path):
    parent = tmp_path / "small.onnx"
    (tmp_path / "sub").mkdir()
    for suffix in ("", ".json"):
        shutil.copy(f"{parent}{suffix}", tmp_path / f"out.float.onnx{suffix}")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.onnx")}
    for out, teacher in (
        ("out.onnx", "out.float.onnx"),
        ("small.qdq.onnx", "small.onnx"),
        ("small.onnx", "small.onnx"),
    ):
        with pytest.raises(ConfigError, match="must be another file than"):
            run(make(out=tmp_path / "." / out, parent=tmp_path / "sub" / ".." / teacher))
        with pytest.raises(ConfigError, match="must be another file than"):
            run(make(out=tmp_path / "." / out, teacher=tmp_path / "sub" / ".." / teacher))
    assert {path: path.read_bytes() for path in tmp_path.glob("*.onnx")} == before
