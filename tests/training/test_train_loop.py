import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from jetseg.errors import ConfigError, DataError, TrainingDivergedError
from jetseg.network import load_manifest
from jetseg.training import loop
from jetseg.training.checkpoint import load_checkpoint, read_tensors, write_tensors
from jetseg.training.config import TrainConfig
from jetseg.training.initialization import resolve
from jetseg.training.loaders import LabelledFrames
from jetseg.training.optimize import learning_rate
from jetseg.training.parameters import RunningMean
from jetseg.training.state import read_progress
from jetseg.training.validate import validate


def state_of(config: TrainConfig):
    return read_tensors(config.out / "state.safetensors")


def interrupt_at(monkeypatch, call: int) -> None:
    """Presses Ctrl-C in the given training step, counted from 1."""
    step, calls = loop.Training._step, []

    def counted(self, batch):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(loop.Training, "_step", counted)


def test_a_run_learns_and_leaves_what_it_promises(toy_config, toy_roads):
    config = toy_config(epochs=8, class_weights="median", dice_weight=0.5)
    result = loop.train(config)
    assert result.miou > 75
    module, manifest = load_checkpoint(result.best)
    frames = LabelledFrames(toy_roads("toy", "val"), list(range(4)), 10)
    assert validate(module, manifest, frames).miou == pytest.approx(result.miou)
    assert manifest.accuracy[0].miou == pytest.approx(result.miou, abs=0.01)
    assert [stage.name for stage in manifest.stages] == ["train"]
    with (config.out / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 9)]
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert max(float(row["val_miou"]) for row in rows) == result.miou
    written = TrainConfig(**yaml.safe_load((config.out / "config.yaml").read_text()))
    assert written == resolve(config)
    assert (written.height, written.crop_width, written.mean) == (32, 48, (0.485, 0.456, 0.406))
    assert written.augment["horizontal_flip"] == 0.5
    assert loop.train(written) == result, "the written settings are not those of the run"
    assert load_manifest(result.last).kind == "checkpoint"


RESUMED = {
    "adamw": {"optimizer": "adamw"},
    "sgd": {"optimizer": "sgd"},
    "parts": {"freeze": ["stem"], "lr_factors": {"classifier*": 0.5}, "lovasz_weight": 0.5, "lovasz_from": 0.4},
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_a_resumed_run_ends_with_exactly_the_same_weights(toy_config, tmp_path, monkeypatch, changes):
    settings = {**changes, "validate_every": 2}
    whole = toy_config(out=tmp_path / "whole", **settings)
    loop.train(whole)
    broken = toy_config(out=tmp_path / "broken", **settings)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)  # the second step of the third epoch
        with pytest.raises(KeyboardInterrupt):
            loop.train(broken)
    assert json.loads(state_of(broken)[1]["progress"])["epochs_done"] == 2
    loop.train(broken)
    (tensors, text), (again, text_again) = state_of(whole), state_of(broken)
    assert tensors.keys() == again.keys()
    parts = {name.split(".", 1)[0] for name in tensors}
    assert parts == {"weights", "mean", "optimizer"}
    different = [name for name in tensors if not torch.equal(tensors[name], again[name])]
    assert different == []
    assert text == text_again
    for name in ("best", "last"):
        assert (whole.out / f"{name}.safetensors").read_bytes() == (broken.out / f"{name}.safetensors").read_bytes()


def test_a_run_does_not_go_on_from_a_file_that_changed(toy_config, tmp_path):
    first, second = (loop.train(toy_config(epochs=1, seed=seed, out=tmp_path / f"{seed}")).last for seed in (0, 1))
    tuned = toy_config(epochs=1, model=None, model_options=None, init=first, out=tmp_path / "tuned")
    loop.train(tuned)
    loop.train(tuned)  # the same file: nothing to do
    for suffix in ("", ".json"):
        Path(f"{first}{suffix}").write_bytes(Path(f"{second}{suffix}").read_bytes())
    with pytest.raises(ConfigError, match="input_sha256"):
        loop.train(tuned)


def test_loader_processes_change_nothing(toy_config, tmp_path):
    alone, helped = (
        toy_config(out=tmp_path / "a", epochs=2),
        toy_config(out=tmp_path / "b", epochs=2, workers=2),
    )
    loop.train(alone)
    loop.train(helped)
    assert (alone.out / "last.safetensors").read_bytes() == (helped.out / "last.safetensors").read_bytes()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_frame_is_one_plain_message(toy_config, toy_roads, monkeypatch, workers):
    healthy = toy_roads.__getitem__

    def broken(self, index):
        if self.split == "train" and index == 7:
            raise DataError("frame7.png is damaged.", "Copy it again.")
        return healthy(self, index)

    monkeypatch.setattr(toy_roads, "__getitem__", broken)
    with pytest.raises(DataError) as caught:
        loop.train(toy_config(epochs=1, workers=workers, cache_mb=0))
    assert str(caught.value) == "frame7.png is damaged. Copy it again."


@pytest.mark.long
def test_another_seed_and_another_epoch_give_other_crops(toy_config, tmp_path):
    weights = []
    for seed in (0, 1):
        config = toy_config(out=tmp_path / str(seed), epochs=1, seed=seed)
        loop.train(config)
        weights.append(state_of(config)[0]["weights.network.classifier.weight"])
    assert not torch.equal(*weights)
    training = loop.Training(loop.open_fabric(config), resolve(config), resume=False)
    first, second = (next(iter(training.feed.epoch(epoch)))[0] for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, next(iter(training.feed.epoch(0)))[0])


def test_ctrl_c_says_how_to_go_on(toy_config, monkeypatch, caplog):
    interrupt_at(monkeypatch, 5)
    with caplog.at_level("INFO"), pytest.raises(KeyboardInterrupt):
        loop.train(toy_config())
    assert "Epochs 1 to 1 of 4 are kept in" in caplog.text
    assert "run the same again" in caplog.text


def test_a_finished_run_is_not_run_again(toy_config, monkeypatch):
    config = toy_config(epochs=1)
    first = loop.train(config)
    interrupt_at(monkeypatch, 1)
    assert loop.train(config) == first
    with pytest.raises(KeyboardInterrupt):
        loop.train(toy_config(epochs=1, resume=False))
    assert loop.read_progress(config.out) is None, "the state of the run that was given up is still there"


def test_other_settings_in_the_same_folder_are_refused(toy_config):
    loop.train(toy_config(epochs=1))
    with pytest.raises(ConfigError) as caught:
        loop.train(toy_config(epochs=2, lr=0.5))
    assert "epochs: 1 then, 2 now" in str(caught.value)
    assert "lr: 0.01 then, 0.5 now" in str(caught.value)
    assert "`resume` off" in str(caught.value)


def test_a_diverging_loss_is_explained(toy_config, monkeypatch):
    calls = []

    def exploding(self, outputs, labels):
        calls.append(1)
        return outputs.sum() * (float("nan") if len(calls) == 5 else 0.0)

    monkeypatch.setattr(loop.SegmentationLoss, "forward", exploding)
    config = toy_config(class_weights="enet")
    with pytest.raises(TrainingDivergedError) as caught:
        loop.train(config)
    message = str(caught.value)
    assert "in epoch 2, step 2" in message
    assert str(config.out / "best.safetensors") in message
    assert "`lr`, now 0.01" in message
    assert "'enet'" in message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(("at", "said"), [(1, "there is no checkpoint"), (3, "of epoch 2; none was validated yet is ")])
def test_a_diverging_run_that_was_not_validated_names_its_last_checkpoint(toy_config, monkeypatch, at, said):
    calls, forward = [], loop.SegmentationLoss.forward

    def exploding(self, outputs, labels):
        calls.append(1)
        loss = forward(self, outputs, labels)
        return loss * float("nan") if len(calls) > 3 * (at - 1) else loss

    monkeypatch.setattr(loop.SegmentationLoss, "forward", exploding)
    config = toy_config(validate_every=4)
    with pytest.raises(TrainingDivergedError, match=said) as caught:
        loop.train(config)
    last = config.out / "last.safetensors"
    assert (f"none was validated yet is {last}: to go on from it, give it as `init`" in str(caught.value)) == (at > 1)
    assert last.exists() == (at > 1)


def test_a_run_does_not_go_on_with_another_number_of_processes(toy_config, monkeypatch):
    config = toy_config()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_at(patched, 5)
        loop.train(config)
    progress = read_progress(config.out)
    assert progress.processes == 1
    tensors, metadata = state_of(config)
    metadata["progress"] = json.dumps({**vars(progress), "processes": 2})
    write_tensors(config.out / "state.safetensors", tensors, metadata)
    with pytest.raises(ConfigError, match=r"2 processes, 8 crops per step; now there is 1 process, which makes 4"):
        loop.train(config)


def test_fine_tuning_starts_from_the_checkpoint(toy_config, tmp_path):
    first = loop.train(toy_config(epochs=1, color="bgr"))
    changed = {"model": None, "model_options": None, "init": first.best, "lr": 1e-12, "ema_decay": 0.0}
    second = loop.train(toy_config(out=tmp_path / "tuned", epochs=1, **changed))
    before, parent = load_checkpoint(first.best)
    after, manifest = load_checkpoint(second.last)
    assert manifest.parent_sha256 == parent.sha256
    assert manifest.input == parent.input
    assert [stage.name for stage in manifest.stages] == ["train", "train"]
    torch.testing.assert_close(after.classifier.weight, before.classifier.weight)
    written = TrainConfig(**yaml.safe_load((second.last.parent / "config.yaml").read_text()))
    assert loop.train(written) == second
    with pytest.raises(ValueError, match="init brings its own color"):
        toy_config(model=None, model_options=None, init=first.best, color="rgb")


@pytest.mark.long
def test_plain_weights_are_a_start(toy_config, tmp_path):
    first = loop.train(toy_config(epochs=1))
    module, _ = load_checkpoint(first.best)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "plain.pth")
    config = toy_config(out=tmp_path / "second", epochs=1, weights=tmp_path / "plain.pth", lr=1e-12, ema_decay=0.0)
    second, _ = load_checkpoint(loop.train(config).last)
    torch.testing.assert_close(second.classifier.weight, module.classifier.weight)


@pytest.mark.long
def test_a_student_learns_from_its_teacher(toy_config, tmp_path, monkeypatch):
    teacher = loop.train(toy_config(epochs=8, out=tmp_path / "teacher", validate_every=8)).best
    # without the labels' loss, all that the student knows comes from the teacher
    monkeypatch.setattr(loop.SegmentationLoss, "forward", lambda *arguments: arguments[1].sum() * 0.0)
    result = loop.train(toy_config(epochs=8, teacher=teacher, validate_every=8))
    assert result.miou > 65
    assert load_manifest(result.best).stages[-1].name == "distill"


def test_features_are_learned_from_a_checkpoint_and_resumed(toy_config, tmp_path, monkeypatch):
    teacher = loop.train(toy_config(epochs=2, out=tmp_path / "teacher", validate_every=2)).best
    settings = {
        "teacher": teacher,
        "distill": {"mimic_weight": 0.5, "relation_weight": 0.5, "dist_weight": 1.0},
        "validate_every": 3,
    }
    whole = toy_config(out=tmp_path / "whole", **settings)
    loop.train(whole)
    broken = toy_config(out=tmp_path / "broken", **settings)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            loop.train(broken)
    loop.train(broken)
    (tensors, _), (again, _) = state_of(whole), state_of(broken)
    assert any("adapter" in name for name in tensors)
    assert [name for name in tensors if not torch.equal(tensors[name], again[name])] == []


def test_frozen_parts_stay_as_they_are(toy_config, tmp_path):
    start = loop.train(toy_config(epochs=1, out=tmp_path / "a")).last
    own = {"model": None, "model_options": None, "init": start, "epochs": 1, "ema_decay": 0.0}
    end = loop.train(toy_config(**own, freeze=("stem", "stage?"), out=tmp_path / "b")).last
    before, after = (load_checkpoint(path)[0].state_dict() for path in (start, end))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("stem", "stage4", "stage8"))} <= same
    assert not {name for name in before if name.startswith("stage16") and not name.endswith("tracked")} & same
    with pytest.raises(ConfigError, match="no part of the network is named 'head'"):
        loop.train(toy_config(freeze=("head",), out=tmp_path / "c"))
    with pytest.raises(ConfigError, match="nothing to train"):
        loop.train(toy_config(freeze=("*",), out=tmp_path / "d"))
    with pytest.raises(ConfigError, match="no weight is named 'head"):
        loop.train(toy_config(lr_factors={"head*": 0.1}, out=tmp_path / "e"))


def test_settings_that_cannot_work(toy_config):
    with pytest.raises(ValueError, match="init, weights and imagenet exclude each other"):
        toy_config(init=Path("a"), weights=Path("b"), model=None, model_options=None)
    with pytest.raises(ValueError, match="crop_height and crop_width"):
        toy_config(augment={"crop": (3, 3)})
    with pytest.raises(ValueError, match="horizontal_flop"):
        toy_config(augment={"horizontal_flop": 1})
    with pytest.raises(ValueError, match="use bf16-mixed"):
        toy_config(precision="bf16-true")
    with pytest.raises(ConfigError, match="precision"):
        loop.train(toy_config(precision="3-bit"))
    with pytest.raises(DataError, match="too few to train on"):
        loop.train(toy_config(frames=1))


def test_the_mean_follows_the_weights():
    module = torch.nn.BatchNorm1d(2)
    mean = RunningMean(module, 0.9)
    expected = 1.0
    for step, value in enumerate([3.0, 5.0, 4.0]):
        module.weight.data.fill_(value)
        module.num_batches_tracked.fill_(step)
        mean.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert mean.module.weight[0].item() == pytest.approx(expected)
    assert mean.module.num_batches_tracked.item() == 2
    assert not mean.module.training


def test_the_learning_rate_rises_and_falls(toy_config):
    config = toy_config(lr=1.0, warmup_fraction=0.1, power=0.9)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.5**0.9)
    assert rates[99] == pytest.approx(0.01**0.9)
    assert max(rates) == rates[9]


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
from conftest import ToyRoads
import jetseg.training.loaders as feeding
feeding.open_split = ToyRoads
from jetseg.training.config import TrainConfig
from jetseg.training.loop import train
torch.set_num_threads(1)
config = dict(data="toy", model="tiny", model_options={"width": 8}, epochs=int(sys.argv[3]))
config["batch_size"] = int(sys.argv[5]) if len(sys.argv) > 5 else 4
train(TrainConfig(**config, out=Path(sys.argv[1]), accelerator="cpu", devices=int(sys.argv[4])))
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_exactly(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def command(name):
        return [sys.executable, str(program), str(tmp_path / name), str(Path(__file__).parent), "30", "1"]

    subprocess.run(command("whole"), check=True, capture_output=True)
    for _ in range(3):
        process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = loop.read_progress(tmp_path / "killed")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            now = loop.read_progress(tmp_path / "killed")
            if now is not None and (before is None or now.epochs_done > before.epochs_done + 2):
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command("killed"), check=True, capture_output=True)
    for name in ("best.safetensors", "last.safetensors", "state.safetensors", "metrics.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    out = tmp_path / "pair"
    subprocess.run(
        [sys.executable, str(program), str(out), str(Path(__file__).parent), "3", "2"],
        check=True,
        capture_output=True,
        timeout=200,
    )
    module, manifest = load_checkpoint(out / "best.safetensors")
    assert manifest.accuracy
    assert not module.training


BOUNDARY = """
from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.stem, self.head, self.edge = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, num_classes, 1), nn.Conv2d(8, 1, 1)
    def forward(self, x):
        x = self.stem(x)
        return (self.head(x), self.edge(x)) if self.training else self.head(x)
"""


@pytest.mark.slow
def test_two_processes_leave_heads_out_that_no_loss_depends_on(tmp_path):
    (tmp_path / "with_boundary.py").write_text(BOUNDARY)
    program = PROGRAM.replace('model="tiny", model_options={"width": 8}', 'model="with_boundary:Net"')
    (tmp_path / "program.py").write_text(program)
    arguments = [str(tmp_path / "pair"), str(Path(__file__).parent), "2", "2"]
    subprocess.run(
        [sys.executable, "program.py", *arguments], check=True, capture_output=True, timeout=200, cwd=tmp_path
    )
    assert load_manifest(tmp_path / "pair" / "last.safetensors").model.train_output == "0"


@pytest.mark.slow
def test_torchrun_trains_the_same_curve_as_one_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def losses(name, launcher, batch_size):
        arguments = [str(tmp_path / name), str(Path(__file__).parent), "12", "1", str(batch_size)]
        subprocess.run([*launcher, str(program), *arguments], check=True, capture_output=True, timeout=200)
        rows = (tmp_path / name / "metrics.csv").read_text().splitlines()[1:]
        return np.array([float(row.split(",")[1]) for row in rows])

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    alone, pair = losses("alone", [sys.executable], 4), losses("pair", torchrun, 2)
    assert pair[-1] < 0.7 * pair[0]
    assert pair == pytest.approx(alone, rel=0.25)  # batch normalization sees two frames, not four
    assert pair.mean() == pytest.approx(alone.mean(), rel=0.1)
